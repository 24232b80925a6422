"""benchmarks/plain.py, which every speed is a ratio to, computes what our models compute."""

import pytest
import torch

from benchmarks import plain
from benchmarks.subject import make_subject, small_shape


@pytest.mark.parametrize("recipe", ["clip_caer", "advanced"])
def test_logits_of_the_plain_model_are_ours_with_the_same_weights(recipe):
    subject = make_subject(small_shape(), recipe, ["--adapter", "published"] if recipe == "advanced" else [])
    face, context = torch.rand(2, 3, 4, 3, 64, 64)
    task, model = subject.task, subject.plain(dropout=0.0)
    task.model.eval()
    with torch.no_grad():
        ours = task.forward({"face": face, "context": context}).logits
        theirs, _, _ = model.forward(face, context)
    assert theirs.std() > 0.01
    assert (ours - theirs).abs().max() < 1e-3
    model.w["fuse.weight"].data[0, 0] += 1.0
    with torch.no_grad():
        assert (ours - model.forward(face, context)[0]).abs().max() > 1e-3


def test_one_step_of_the_plain_loop_moves_the_weights_as_ours_does():
    subject = make_subject(small_shape(), "advanced", ["--adapter", "published", "--label-smoothing", "0"])
    face, context = torch.rand(2, 3, 4, 3, 64, 64)
    batch = {"face": face, "context": context, "label": torch.tensor([0, 3, 4]), "id": ["a", "b", "c"]}
    theirs = subject.plain(dropout=0.0)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=1.0)
    loss = subject.config.loss
    plain.step(theirs, optimizer, face, context, batch["label"], mi=loss.mi_loss_weight, dc=loss.dc_loss_weight)
    task = subject.task
    task.loss = subject.changed_loss(logit_adj=False, mi_warmup=0, mi_ramp=0, dc_warmup=0, dc_ramp=0)
    task.model.train()
    for module in task.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    ours = torch.optim.SGD([p for p in task.model.parameters() if p.requires_grad], lr=1.0)
    sum(task.losses(task.forward(batch), batch, 0).values()).backward()
    ours.step()
    state, before = task.model.state_dict(), subject.start
    for name, tensor in theirs.w.items():
        moved = (tensor.detach() - before[name]).abs().max()
        assert (tensor.detach() - state[name]).abs().max() <= 1e-3 * moved + 1e-6, name
