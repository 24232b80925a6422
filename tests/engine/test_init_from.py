"""--init-from: what a training takes over from another run's checkpoint, what it says of the rest, what it refuses."""

import re

import pytest
import torch

from tests.support.tiny import as_arguments, write_set
from tests.support.tools import FAST, ROOT, error_of, run_main

ONE_EPOCH = ["--epochs", "1", "--milestones"]
STILL = ["--lr", "0", "--lr-image-encoder", "0", "--select-on", "last"]  # nothing moves before it is saved
DFER = ["--model", "dfer-clip", *STILL, "--lr-prompt-learner", "0"]
SHARED = ("face_temporal.", "image_encoder.", "text_encoder.")


def model_of(run):
    state = torch.load(run.folder / "best.pt", weights_only=True)["model"]
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """15 clips of 4 frames; what only two streams need is left out."""
    flags = write_set(tmp_path_factory.mktemp("few"), clips=15, persons=3, frames=4)
    return [*FAST, *ONE_EPOCH, *as_arguments({k: v for k, v in flags.items() if k != "--bounding-box-body"})]


@pytest.fixture(scope="module")
def runs(arguments, tmp_path_factory):
    """Finished runs by name, each made once; every seed draws other weights, of the random CLIP too."""
    known = {}

    def run(name, *more):
        if name not in known:
            known[name] = run_main([*arguments, *more], tmp_path_factory.mktemp(name) / "run")
            assert known[name].status == 0, known[name].err
        return known[name]

    return run


@pytest.fixture(scope="module")
def source(runs):
    words = "--model dfer-clip --lr 0.05 --lr-image-encoder 1e-3 --seed 5 --select-on last"
    return runs("source", *words.split())


@pytest.fixture(scope="module")
def started(runs, source):
    return runs("started", *DFER, "--seed", "6", "--init-from", str(source.folder / "best.pt"))


def test_a_run_starts_with_the_temporal_transformer_and_the_towers_of_another(source, started, runs):
    first, own, fresh = model_of(source), model_of(started), model_of(runs("fresh", *DFER, "--seed", "6"))
    names = [name for name in own if name.startswith(SHARED)]
    assert any(name.startswith("face_temporal.blocks.0.") for name in names)
    assert all(torch.equal(own[name], first[name]) for name in names)
    for name in ("face_temporal.class_token", "face_temporal.blocks.0.attention.to_qkv.weight"):
        assert not torch.equal(own[name], fresh[name])


def test_what_was_taken_is_counted_and_the_rest_is_named(source, started):
    line = next(line for line in started.out.splitlines() if "--init-from" in line)
    assert str(source.folder / "best.pt") in line
    taken = int(re.search(r"(\d+) tensors taken", line)[1])
    assert sum(name.startswith(SHARED) for name in model_of(started)) <= taken <= len(model_of(started))
    assert "temporal" not in line.split("taken", 1)[1]


def test_texts_stay_those_of_the_classes_of_this_run(source, runs):
    """Another kind of text: neither the prompts' tokens nor where they end come from the file."""
    words = [*DFER, "--seed", "6", "--text-type", "class_names"]
    plain = model_of(runs("plain names", *words))
    started = model_of(runs("named", *words, "--init-from", str(source.folder / "best.pt")))
    for name in ("prompts.end", "prompts.text_lengths", "prompts.text"):
        assert torch.equal(started[name], plain[name])


def test_more_frames_keep_their_own_positions_and_that_is_said(source, runs):
    done = runs("longer", *DFER, "--seed", "6", "--num-segments", "6", "--init-from", str(source.folder / "best.pt"))
    first, own = model_of(source), model_of(done)
    assert own["face_temporal.positions"].shape[1] == 7
    assert torch.equal(own["face_temporal.class_token"], first["face_temporal.class_token"])
    line = next(line for line in done.out.splitlines() if "--init-from" in line)
    assert "face_temporal" in line.split("taken", 1)[1]


def test_two_streams_take_the_one_that_is_there(source, runs):
    words = [*STILL, "--lr-prompt-learner", "0", "--lr-adapter", "0", "--contexts-number", "8", "--seed", "6"]
    done = runs("two streams", *words, "--init-from", str(source.folder / "best.pt"))
    first, own = model_of(source), model_of(done)
    assert all(torch.equal(own[name], first[name]) for name in own if name.startswith("face_temporal."))
    rest = next(line for line in done.out.splitlines() if "--init-from" in line).split("taken", 1)[1]
    assert all(part in rest for part in ("adapter", "context_temporal", "fuse")) and "face_temporal" not in rest


def test_a_caption_model_starts_another_with_other_classes(runs, tmp_path):
    words = ["--model", "emoclip", "--caption-source", "class", "--num-segments", "4"]
    first = runs("captions", *words, "--lr", "0.05", "--seed", "5")
    texts = tmp_path / "classes.json"
    names = ("calm", "glad", "lost", "tired", "away")
    entries = ", ".join(f'{{"name": "{name}", "class_descriptor": "a {name} face"}}' for name in names)
    texts.write_text(f'{{"classes": [{entries}]}}')
    more = [*words, "--lr", "0", "--seed", "6", "--init-from", str(first.folder / "best.pt")]
    second, plain = (
        model_of(runs(name, *given, "--class-texts", str(texts)))
        for name, given in (("next", more), ("own", more[:-2]))
    )
    before = model_of(first)
    assert torch.equal(second["tokens"], plain["tokens"]) and not torch.equal(second["tokens"], before["tokens"])
    assert all(torch.equal(second[name], before[name]) for name in second if name.startswith("temporal."))
    assert torch.equal(second["logit_scale"], before["logit_scale"])


@pytest.mark.parametrize(
    "words",
    [
        ["--init-from", str(ROOT / "weights/demo_best.pt")],  # of another width
        ["--init-from", str(ROOT / "weights/mini_clip.safetensors")],
        ["--init-from", str(ROOT / "README.md")],
        ["--init-from", "nowhere.pt"],
        ["--init-from", str(ROOT)],
    ],
)
def test_a_file_without_a_temporal_transformer_that_fits_is_one_line(words, arguments, tmp_path, capsys):
    folder = tmp_path / "run"
    message = error_of([*arguments, *DFER, *words, "--output-dir", str(folder)], capsys)
    assert words[1] in message
    assert not (folder / "best.pt").exists()


def test_a_caption_models_temporal_transformer_is_not_that_of_a_stream(runs, arguments, tmp_path, capsys):
    words = ["--model", "emoclip", "--caption-source", "class", "--num-segments", "4", "--lr", "0.05", "--seed", "5"]
    path = str(runs("captions", *words).folder / "best.pt")
    message = error_of([*arguments, *DFER, "--init-from", path, "--output-dir", str(tmp_path / "run")], capsys)
    assert path in message and "temporal" in message
