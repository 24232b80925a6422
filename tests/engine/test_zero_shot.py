"""A caption model scores classes that it never saw: of other sets, of the user, and combinations of several."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.support.drawn import ELEVEN, LEVELS, READERS, SEVEN, classes_in_columns, flags, truth
from tests.support.tools import FAST, RANDOM_CLIP, error_of, run_main

CAER = "anger disgust fear happiness neutral sadness surprise".split()
CLASSES = {"dfew": SEVEN, "ferv39k": SEVEN, "afew": SEVEN, "caer": CAER, "daisee": LEVELS, "mafw": ELEVEN}
CLASSES["caer_s"] = CAER  # one frame, to a model of two
TEXTS = ["A face with lifted brows and an open mouth.", "A person who looks down, brows drawn together."]


def scored(captioned, words, folder):
    run = run_main(["--mode", "zero-shot", "--eval-checkpoint", str(captioned.folder / "best.pt"), *words], folder)
    assert run.status == 0, run.err
    return run


def data(reader, root):
    """The recipe of a set and its root: what a user names beside the checkpoint."""
    return [f"@recipes/data/{reader}.args", "--root-dir", str(root), *READERS[reader][1], *FAST[4:6], "--device", "cpu"]


def logits_of(run):
    names = classes_in_columns(run.folder / "predictions.csv")
    return names, np.array([[float(row[f"logit_{name}"]) for name in names] for row in run.predictions])


def own_classes(folder, names=("up", "down"), texts=TEXTS):
    entries = [{"name": name, "class_descriptor": text} for name, text in zip(names, texts, strict=True)]
    (folder / "classes.json").write_text(json.dumps({"label_base": 0, "classes": entries}))
    return ["--class-texts", str(folder / "classes.json")]


def encode(state, tokens):
    """CLIP's text tower from its published description: causal blocks, the row of the end, the projection."""
    get = lambda name: state[f"text_encoder.{name}"].float()  # noqa: E731
    x = state["token_embedding"].float()[tokens] + get("positional_embedding")
    N, L, D = x.shape
    heads = max(1, D // 64)
    mask = torch.full((L, L), -torch.inf).triu(1)
    depth = len({name.split(".")[3] for name in state if name.startswith("text_encoder.transformer.resblocks.")})
    for n in range(depth):
        part = lambda name, n=n: get(f"transformer.resblocks.{n}.{name}")  # noqa: E731
        norm = F.layer_norm(x, (D,), part("ln_1.weight"), part("ln_1.bias"))
        q, k, v = F.linear(norm, part("attn.in_proj_weight"), part("attn.in_proj_bias")).chunk(3, dim=-1)
        q, k, v = (t.view(N, L, heads, -1).transpose(1, 2) for t in (q, k, v))
        weights = (q @ k.transpose(-1, -2) / (D // heads) ** 0.5 + mask).softmax(dim=-1)
        mixed = (weights @ v).transpose(1, 2).reshape(N, L, D)
        x = x + F.linear(mixed, part("attn.out_proj.weight"), part("attn.out_proj.bias"))
        norm = F.layer_norm(x, (D,), part("ln_2.weight"), part("ln_2.bias"))
        hidden = F.linear(norm, part("mlp.c_fc.weight"), part("mlp.c_fc.bias"))
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        x = x + F.linear(hidden, part("mlp.c_proj.weight"), part("mlp.c_proj.bias"))
    x = F.layer_norm(x, (D,), get("ln_final.weight"), get("ln_final.bias"))
    return F.normalize(x[torch.arange(N), tokens.argmax(dim=-1)] @ get("text_projection"), dim=-1)


@pytest.fixture(scope="module")
def state(captioned):
    return torch.load(captioned.folder / "best.pt", weights_only=True)["model"]


@pytest.fixture(scope="module")
def compound(captioned, drawn, tmp_path_factory):
    return scored(captioned, data("mafw_compound", drawn("mafw")), tmp_path_factory.mktemp("compound") / "run")


@pytest.mark.parametrize("reader", CLASSES)
def test_captions_score_the_classes_of_any_set(reader, captioned, drawn, tmp_path):
    root = drawn(READERS[reader][0])
    run = scored(captioned, data(reader, root), tmp_path / "run")
    assert {row["clip"]: row["label"] for row in run.predictions} == truth(reader, root)
    assert classes_in_columns(run.folder / "predictions.csv") == CLASSES[reader]
    assert "zero-shot" in run.metrics["selected_on"]


def test_more_frames_than_it_has_positions_for(captioned, drawn, capsys):
    words = ["--mode", "zero-shot", "--eval-checkpoint", str(captioned.folder / "best.pt")]
    more = [*data("dfew", drawn("dfew")), "--num-segments", "3"]
    assert "--num-segments: 3 frames, but" in error_of([*words, *more], capsys)


def test_every_fold_of_a_set_by_the_same_weights(captioned, drawn, tmp_path):
    words = [*data("dfew", drawn("dfew")), "--fold", "all"]
    run = scored(captioned, words, tmp_path / "run")
    assert len(run.predictions) == 40 == len({row["clip"] for row in run.predictions})
    assert list(run.metrics["runs"]) == [f"fold-{fold}" for fold in range(1, 6)]


def test_its_own_test_list_gives_the_training_runs_own_scores(captioned, drawn, tmp_path):
    run = scored(captioned, data("mafw_captions", drawn("mafw")), tmp_path / "run")
    assert logits_of(run)[1].tolist() == logits_of(captioned)[1].tolist()


def test_the_names_of_the_sets_mean_the_same_texts(captioned, drawn, tmp_path):
    """DFEW's clips by the texts of DFEW and of FERV39k, whose classes are the same."""
    words = data("dfew", drawn("dfew"))
    one = scored(captioned, words, tmp_path / "one")
    other = scored(captioned, [*words, "--dataset", "FERV39k"], tmp_path / "other")
    assert (one.folder / "predictions.csv").read_bytes() == (other.folder / "predictions.csv").read_bytes()


def test_two_invented_classes(captioned, drawn, tmp_path):
    rows = list(truth("dfew", drawn("dfew")))
    (tmp_path / "list.txt").write_text("".join(f"{clip} 3 {n % 2}\n" for n, clip in enumerate(rows)))
    words = ["--root-dir", str(drawn("dfew")), "--test-annotation", str(tmp_path / "list.txt"), *FAST[4:6]]
    run = scored(captioned, [*words, *own_classes(tmp_path)], tmp_path / "run")
    assert [row["label"] for row in run.predictions] == [("up", "down")[n % 2] for n in range(len(rows))]
    assert classes_in_columns(run.folder / "predictions.csv") == ["up", "down"]


def test_the_order_of_invented_classes_does_not_matter(captioned, drawn, tmp_path):
    clips = list(truth("dfew", drawn("dfew")))
    (tmp_path / "list.txt").write_text("".join(f"{clip} 3 0\n" for clip in clips))
    words = ["--root-dir", str(drawn("dfew")), "--test-annotation", str(tmp_path / "list.txt"), *FAST[4:6]]
    found = []
    for names, texts in ((("up", "down"), TEXTS), (("down", "up"), TEXTS[::-1])):
        run = scored(captioned, [*words, *own_classes(tmp_path, names, texts)], tmp_path / names[0])
        found.append([(float(row["logit_up"]), float(row["logit_down"])) for row in run.predictions])
    assert np.allclose(*found, atol=1e-5)


def test_logits_are_cosines_times_the_learnt_scale(captioned, state):
    """A video of length one explains its logits, over the scale, as cosines with texts of length one."""
    texts = encode(state, state["tokens"].long()[:, 0])
    logits = torch.tensor(logits_of(captioned)[1]).float() / state["logit_scale"].float().exp()
    assert logits.abs().max() <= 1 and len(texts) == 11
    shortest = torch.linalg.pinv(texts.double()) @ logits.double().T  # of all videos with these cosines
    assert shortest.norm(dim=0).max() <= 1 + 1e-3


def test_compound_classes_are_the_singles_and_what_the_lists_hold(compound, drawn):
    folder = drawn("mafw") / "Train_Test_Set/compound/no_caption_new/set_1"
    lines = [
        line.split()[1] for part in ("train", "test") for line in (folder / f"{part}.txt").read_text().splitlines()
    ]
    names = logits_of(compound)[0]
    assert names[:11] == ELEVEN and set(names[11:]) == {name for name in lines if "_" in name}
    expected = truth("mafw_compound", drawn("mafw"))
    assert {row["clip"]: row["label"] for row in compound.predictions} == expected


def test_a_compound_class_is_the_mean_of_its_parts(compound, captioned, state):
    """With texts a and b of length one, the cosine with their mean is (cos a + cos b) / |a + b|."""
    names, logits = logits_of(compound)
    texts = dict(zip(ELEVEN, encode(state, state["tokens"].long()[:, 0]), strict=True))
    for name in names[11:]:
        parts = name.split("_")
        length = torch.stack([texts[part] for part in parts]).sum(dim=0).norm().item()
        expected = logits[:, [names.index(part) for part in parts]].sum(axis=1) / length
        assert np.allclose(logits[:, names.index(name)], expected, rtol=1e-3, atol=1e-3), name


def test_single_classes_are_scored_alike_beside_combinations(compound, captioned, drawn, tmp_path):
    single = scored(captioned, [*data("mafw", drawn("mafw")), "--fold", "1"], tmp_path / "run")
    rows = {row["clip"]: row for row in compound.predictions}
    assert len(single.predictions) == sum("_" not in row["label"] for row in rows.values())
    for row in single.predictions:
        for name in ELEVEN:
            assert float(row[f"logit_{name}"]) == pytest.approx(float(rows[row["clip"]][f"logit_{name}"]), abs=1e-4)


def test_a_classifier_is_refused(drawn, tmp_path, capsys):
    """Its prompts are learnt for its own classes."""
    run = run_main(["--model", "dfer-clip", *flags("dfew", drawn("dfew"))], tmp_path / "run")
    words = ["--mode", "zero-shot", "--eval-checkpoint", str(run.folder / "best.pt"), *data("afew", drawn("afew"))]
    message = error_of([*words, "--output-dir", str(tmp_path / "zero")], capsys)
    assert "best.pt" in message and "--mode eval" in message and "caption" in message


def test_evaluation_with_other_classes_names_zero_shot(captioned, drawn, tmp_path, capsys):
    words = ["--mode", "eval", "--eval-checkpoint", str(captioned.folder / "best.pt"), *RANDOM_CLIP]
    run = run_main([*words, *data("dfew", drawn("dfew"))], tmp_path / "run")
    assert run.status == 0, run.err  # all classes of DFEW are among those of MAFW
    assert {row["clip"]: row["label"] for row in run.predictions} == truth("dfew", drawn("dfew"))
    assert classes_in_columns(run.folder / "predictions.csv") == ELEVEN
    message = error_of([*words, *data("daisee", drawn("daisee")), "--output-dir", str(tmp_path / "other")], capsys)
    assert "best.pt" in message and "class" in message
