"""LoRA through the command line: who learns, what the files hold, and what is said where it means nothing."""

import json
import shutil

import numpy as np
import pytest
import torch

from engine.options import GROUPS
from models.clip_backbone import load_clip
from models.lora import is_lora
from tests.support.affect import write_frames, write_set
from tests.support.tools import Run, call, error_of, one_line, run_ok
from utils.archive import read_archive

LORA = "--lora-rank 2 --lora-targets all --lora-towers both --lr-lora 0.1 --iec-text both".split()
LEARN = "--epochs 2 --milestones --optimizer AdamW --lr 1e-3 --temperature 0.05 --normalize clip".split()


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, tiny_arguments) -> Run:
    """A run whose two towers have learnt by LoRA alone."""
    return run_ok([*tiny_arguments, *LEARN, *LORA], tmp_path_factory.mktemp("lora") / "run")


@pytest.fixture(scope="module")
def converted(adapted, tmp_path_factory):
    """The checkpoint written whole: with its corrections, and with them in the weights."""
    folders = {}
    for name, flags in (("unmerged", ()), ("merged", ("--merge",))):
        folder = tmp_path_factory.mktemp("converted") / name
        call("--mode", "convert", adapted.folder / "best.pt", *flags, "--output-dir", folder, folder=folder).ok()
        folders[name] = folder / "best.pt"
    return folders


def logits(run: Run) -> np.ndarray:
    rows = np.genfromtxt(run.folder / "predictions.csv", delimiter=",", skip_header=1, dtype=str)
    return rows[:, 4:9].astype(float)


def evaluate(checkpoint, tiny_arguments, folder, *more) -> Run:
    lists = tiny_arguments[tiny_arguments.index("--device") + 2 :]
    words = ["--mode", "eval", "--eval-checkpoint", str(checkpoint), "--device", "cpu", "--workers", "0", *lists, *more]
    return run_ok([word for word in words if word], folder)


def test_the_towers_stay_and_their_corrections_learn(adapted):
    content = read_archive(adapted.folder / "best.pt")
    names = {name for name in content["model"] if is_lora(name)}
    assert len({name.rsplit(".lora.", 1)[0] for name in names}) == 16  # four layers, two blocks, two towers
    assert all(content["model"][name].float().any() for name in names)
    assert content["left_out"].keys() == {"image_encoder", "text_encoder"}
    others = {name.split(".")[0] for name in content["model"] if name not in names}
    assert not others & {"image_encoder", "text_encoder"}
    assert "LoRA" in adapted.out and "image encoder" not in adapted.out  # the groups that learn
    stored = json.loads((adapted.folder / "config.json").read_text())["optim"]
    assert stored["lora_rank"] == 2 and stored["lr_image_encoder"] == 0


def test_its_checkpoint_scores_as_the_run_did(adapted, tiny_arguments, tmp_path):
    again = evaluate(adapted.folder / "best.pt", tiny_arguments, tmp_path / "eval")
    assert np.array_equal(logits(again), logits(adapted))


def test_a_whole_checkpoint_needs_no_clip_and_merging_changes_no_logit(adapted, converted, tiny_arguments, tmp_path):
    for name, path in converted.items():
        content = read_archive(path)
        assert "left_out" not in content and "image_encoder.proj" in content["model"]
        assert any(map(is_lora, content["model"])) == (name == "unmerged")
        content["config"]["model"]["clip_path"] = "gone.pt"
        torch.save(content, tmp_path / f"{name}.pt")
        again = evaluate(tmp_path / f"{name}.pt", tiny_arguments, tmp_path / name)
        assert np.abs(logits(again) - logits(adapted)).max() < 1e-4  # the file has four digits behind the point
    states = [read_archive(path)["model"] for path in converted.values()]
    weight = "image_encoder.transformer.resblocks.0.attn.in_proj_weight"
    down, up = (states[0][weight.replace("in_proj_weight", f"lora.{part}")].double() for part in ("down", "up"))
    by_hand = [up[64 * g : 64 * g + 64] @ down[2 * g : 2 * g + 2] for g in range(3)]
    expected = states[0][weight].double() + 16 / 2 * torch.cat(by_hand)
    assert torch.allclose(states[1][weight].double(), expected, atol=1e-6)


def test_inspect_says_what_is_inside_and_what_is_not(adapted, converted):
    out = call("--mode", "inspect", adapted.folder / "best.pt").ok().out
    assert "LoRA        rank 2 in 16 layers of the image and the text tower, --lora-alpha 16" in out
    assert "not in the file: image_encoder, text_encoder of --clip-path random" in out
    out = call("--mode", "inspect", converted["merged"]).ok().out
    assert "LoRA " not in out and "--lora" not in out and "not in the file" not in out


def test_a_merged_folder_for_the_hub_says_nothing_of_it(adapted, converted, tiny_arguments, tmp_path):
    words = ["--mode", "convert", adapted.folder / "best.pt", "--merge", "--format", "hub"]
    printed = call(*words, "--output-dir", tmp_path / "hub").ok().out
    assert json.loads((tmp_path / "hub/config.json").read_text())["config"]["optim"]["lora_rank"] == 0
    assert "LoRA " not in printed and "--lora" not in printed
    average = ["--mode", "convert", "--average", tmp_path / "hub", adapted.folder / "best.pt", "--merge"]
    call(*average, "--output-dir", tmp_path / "average").ok()  # merged where there is something to merge
    again = evaluate(tmp_path / "average/average.pt", tiny_arguments, tmp_path / "eval")
    assert np.abs(logits(again) - logits(adapted)).max() < 1e-4


def test_a_clip_that_was_moved_is_named_again(tiny_arguments, tmp_path):
    state = {name: value.half() for name, value in load_clip("random", seed=9).openai_state().items()}
    torch.save(state, tmp_path / "old.pt")
    words = [
        *tiny_arguments,
        "--clip-path",
        str(tmp_path / "old.pt"),
        "--lora-rank",
        "2",
        "--epochs",
        "1",
        "--milestones",
    ]
    first = run_ok(words, tmp_path / "first")
    (tmp_path / "old.pt").rename(tmp_path / "new.pt")
    words = [*tiny_arguments, "--clip-path", str(tmp_path / "new.pt"), "--epochs", "1", "--milestones", "--init-from"]
    assert "tensors taken" in run_ok([*words, str(first.folder / "best.pt")], tmp_path / "second").out


def test_another_clip_is_refused_and_the_right_one_is_found_by_name(adapted, tiny_arguments, tmp_path, capsys):
    other = tmp_path / "other.pt"
    state = {name: value.half() for name, value in load_clip("random", seed=9).openai_state().items()}
    torch.save(state, other)
    words = ["--mode", "eval", "--eval-checkpoint", str(adapted.folder / "best.pt"), "--device", "cpu"]
    lists = tiny_arguments[tiny_arguments.index("--device") + 2 :]
    message = error_of([*words, *lists, "--clip-path", str(other)], capsys)
    assert f"--clip-path {other}: not the CLIP that this checkpoint was trained with" in message
    message = error_of([*words, *lists, "--clip-path", str(tmp_path / "gone.pt")], capsys)
    assert "gone.pt: no such file" in message


def test_a_new_training_starts_from_it(adapted, tiny_arguments, tmp_path):
    """Without LoRA of its own, the corrections are in the weights; with the same LoRA they go on."""
    still = "--lr 0 --lr-image-encoder 0 --lr-prompt-learner 0 --epochs 1 --milestones --select-on last".split()
    words = [*tiny_arguments, *still, "--iec-text", "both", "--init-from", str(adapted.folder / "best.pt")]
    merged = read_archive(run_ok(words, tmp_path / "merged").folder / "best.pt")["model"]
    same = "--lora-rank 2 --lora-targets all --lora-towers both --lr-lora 0".split()
    run = run_ok([*words, *same], tmp_path / "same")
    adapted_again, before = read_archive(run.folder / "best.pt"), read_archive(adapted.folder / "best.pt")["model"]
    for name, value in before.items():
        if is_lora(name):
            assert torch.equal(adapted_again["model"][name].float(), value.float()) and name not in merged
    assert "left_out" not in adapted_again or not adapted_again["left_out"]  # whatever its towers were is inside
    weight = "image_encoder.transformer.resblocks.1.mlp.c_fc"
    down, up = (before[f"{weight}.lora.{part}"].float() for part in ("down", "up"))
    base = load_clip("random", seed=42).state_dict()[f"{weight.replace('image_encoder', 'visual')}.weight"]
    assert torch.allclose(merged[f"{weight}.weight"].float(), base + 8 * up @ down, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lora-rank", "2", "--cache-features"], "--cache-features stores features, which --lora-rank changes"),
        (["--lora-rank", "2", "--lr-image-encoder", "1e-6"], "pass --lr-image-encoder 0"),
        (["--lora-rank", "2", "--layer-decay", "0.9"], "--layer-decay needs a trained image encoder"),
        (["--lora-rank", "2", "--lora-layers", "7"], "--lora-layers 7: the image tower has 2 blocks"),
        (["--lora-rank", "-1"], "--lora-rank"),
        (["--lora-alpha", "8"], "--lora-alpha 8.0 is not used with --lora-rank 0"),
        (["--model", "sequence", "--lora-rank", "2"], "--lora-rank 2 is not used by --model sequence"),
    ],
)
def test_what_does_not_go_together_is_one_line(words, message, tiny_arguments, capsys, tmp_path):
    given = [] if "sequence" in words else tiny_arguments
    assert message in error_of([*given, *words, "--output-dir", str(tmp_path / "run")], capsys)


def test_merging_a_model_without_it_is_one_line(trained, tmp_path):
    run = call("--mode", "convert", trained.folder / "best.pt", "--merge", "--output-dir", tmp_path / "out")
    assert "has no LoRA; leave it out" in one_line(run)


@pytest.mark.parametrize("name", ["image_encoder.ln_pre", "fuse", "nowhere"])
def test_damaged_files_with_corrections_elsewhere_are_one_line(name, adapted, tiny_arguments, tmp_path, capsys):
    content = read_archive(adapted.folder / "best.pt")
    content["model"] |= {f"{name}.lora.up": torch.ones(8, 2), f"{name}.lora.down": torch.ones(2, 8)}
    torch.save(content, tmp_path / "bad.pt")
    words = ["--mode", "eval", "--eval-checkpoint", str(tmp_path / "bad.pt"), "--device", "cpu"]
    lists = tiny_arguments[tiny_arguments.index("--device") + 2 :]
    assert "do not make a clip-caer model" in error_of([*words, *lists], capsys)


def test_a_caption_model_adapts_both_towers(tiny_arguments, tmp_path):
    words = [word for word in tiny_arguments if word != "--bounding-box-body"]
    flags = "--model emoclip --caption-source class --epochs 1 --milestones".split()
    body = tiny_arguments[tiny_arguments.index("--bounding-box-body") + 1]
    words = [word for word in words if word != body]
    run = run_ok([*words, *flags, *LORA[:-2]], tmp_path / "run")
    model = read_archive(run.folder / "best.pt")["model"]
    assert {name.split(".")[0] for name in model if is_lora(name)} == {"image_encoder", "text_encoder"}
    assert all(model[name].float().any() for name in model if is_lora(name))
    assert run.metrics["uar"] is not None


def test_frames_have_no_text_tower(capsys, tmp_path):
    root = tmp_path / "set"
    write_set(root)
    write_frames(root)
    words = ["--model", "frame-expr", "--root-dir", str(root), "--clip-path", "random", "--image-size", "64"]
    words += ["--lora-rank", "2", "--lora-towers", "text", "--output-dir", str(tmp_path / "run")]
    assert "--lora-towers text: --model frame-expr has no text tower" in error_of(words, capsys)


def test_an_ablation_leaves_it_out_and_compares_ranks(tiny_arguments, tmp_path):
    words = "--mode ablate --drop-one --epochs 1 --milestones --adapter none --slerp-weight 0 --no-tune-prompts".split()
    words += ["--mi-loss-weight", "0", "--dc-loss-weight", "0", "--streams", "context", "--lora-rank", "2"]
    run = call(*tiny_arguments, *words, "--grid", "lora_rank=4", "--output-dir", tmp_path / "ablation").ok()
    stored = json.loads((tmp_path / "ablation/without-LoRA/seed-42/config.json").read_text())["optim"]
    assert (stored["lora_rank"], stored["lr_image_encoder"]) == (0, 0)  # the tower stays frozen
    ablation = json.loads((tmp_path / "ablation/ablation.json").read_text())
    assert [row["variant"] for row in ablation["rows"]] == ["base", "without LoRA", "lora_rank=4"], run.out


def test_every_option_of_it_is_one_field():
    fields = GROUPS["optim"].__dataclass_fields__
    assert {name for name in fields if "lora" in name} == {
        "lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "lora_towers", "lora_layers", "lr_lora",
    }  # fmt: skip


def test_a_folder_that_is_copied_elsewhere_still_opens(adapted, tiny_arguments, tmp_path):
    shutil.copy(adapted.folder / "best.pt", tmp_path / "moved.pt")
    assert evaluate(tmp_path / "moved.pt", tiny_arguments, tmp_path / "eval").metrics["uar"] == adapted.metrics["uar"]
