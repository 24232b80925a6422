"""--init-from: what a training loads from another checkpoint, what it reports, what it refuses."""

import json
import re

import pytest
import torch

from tests.support import published as files
from tests.support.containers import write_container
from tests.support.published import Recipe
from tests.support.tiny import as_arguments, write_set
from tests.support.tools import FAST, ROOT, error_of, run_ok

ONE_EPOCH = ["--epochs", "1", "--milestones"]
STILL = ["--lr", "0", "--lr-image-encoder", "0", "--select-on", "last"]  # nothing is trained before it is saved
DFER = ["--model", "dfer-clip", *STILL, "--lr-prompt-learner", "0"]
CAPTIONS = ["--model", "emoclip", "--caption-source", "class", "--num-segments", "4"]
SHARED = ("face_temporal.", "image_encoder.", "text_encoder.")


def init_from(path) -> list[str]:
    return ["--init-from", str(path)]


def taken_line(run) -> tuple[str, str]:
    """The line about --init-from, and its part about what was not loaded."""
    line = next(line for line in run.out.splitlines() if "--init-from" in line)
    return line, line.split("taken", 1)[1]


def equal_tensors(first, second, names) -> bool:
    return all(torch.equal(first[name], second[name]) for name in names)


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
    """Finished runs by name, each trained once; every seed has other weights, also of the random CLIP."""
    finished = {}

    def run(name, *more):
        if name not in finished:
            finished[name] = run_ok([*arguments, *more], tmp_path_factory.mktemp(name) / "run")
        return finished[name]

    return run


@pytest.fixture(scope="module")
def source(runs):
    return runs("source", *"--model dfer-clip --lr 0.05 --lr-image-encoder 1e-3 --seed 5 --select-on last".split())


@pytest.fixture(scope="module")
def best(source):
    return source.folder / "best.pt"


@pytest.fixture(scope="module")
def captions(runs):
    return runs("captions", *CAPTIONS, "--lr", "0.05", "--seed", "5")


def test_a_run_starts_with_the_temporal_transformer_and_the_towers_of_another(source, best, runs):
    started = runs("started", *DFER, "--seed", "6", *init_from(best))
    first, second, fresh = model_of(source), model_of(started), model_of(runs("fresh", *DFER, "--seed", "6"))
    names = [name for name in second if name.startswith(SHARED)]
    assert any(name.startswith("face_temporal.blocks.0.") for name in names) and equal_tensors(second, first, names)
    for name in ("face_temporal.class_token", "face_temporal.blocks.0.attention.to_qkv.weight"):
        assert not torch.equal(second[name], fresh[name])
    line, rest = taken_line(started)
    assert str(best) in line and "temporal" not in rest
    assert len(names) <= int(re.search(r"(\d+) tensors taken", line)[1]) <= len(second)


def test_a_run_is_continued_only_with_the_content_that_it_started_from(best, runs, arguments, tmp_path, capsys):
    """The file's name does not matter, and the file may be gone."""
    file, folder = tmp_path / "a.pt", tmp_path / "run"
    file.write_bytes(best.read_bytes())
    words = [*arguments, *DFER, "--seed", "6", "--output-dir", str(folder)]
    run_ok([*words, *init_from(file)], folder)
    again = [*words, "--resume", "auto"]
    other = runs("started", *DFER, "--seed", "6", *init_from(best)).folder / "best.pt"
    for start, fragment in ((init_from(other), str(other)), ([], "--init-from None")):
        assert fragment in error_of([*again, *start], capsys)
    assert "--init-from" in error_of(["--resume", str(folder), *init_from(other)], capsys)
    for start in (init_from(best), init_from(file)):
        assert "is complete" in run_ok([*again, *start], folder).out
    file.write_bytes(other.read_bytes())
    assert "content has changed" in error_of(["--resume", str(folder)], capsys)
    file.unlink()
    assert "is complete" in run_ok(["--resume", str(folder)], folder).out


def test_texts_are_those_of_the_classes_of_this_run(best, runs):
    """Another kind of text: neither the prompts' tokens nor where they end come from the file."""
    words = [*DFER, "--seed", "6", "--text-type", "class_names"]
    plain, started = model_of(runs("plain names", *words)), model_of(runs("named", *words, *init_from(best)))
    assert equal_tensors(started, plain, ("prompts.end", "prompts.text_lengths", "prompts.text"))


def test_positions_of_more_frames_are_not_loaded_and_a_message_says_so(source, best, runs):
    run = runs("longer", *DFER, "--seed", "6", "--num-segments", "6", *init_from(best))
    second = model_of(run)
    assert second["face_temporal.positions"].shape[1] == 7 and "face_temporal" in taken_line(run)[1]
    assert equal_tensors(second, model_of(source), ["face_temporal.class_token"])


def test_the_first_of_more_positions_are_loaded_and_every_tensor_has_a_line(captions, runs):
    """EmoCLIP's file has positions of 1024 frames, a model has those of its own."""
    words = [*CAPTIONS, "--lr", "0", "--seed", "6", "--num-segments", "2"]
    run = runs("shorter", *words, *init_from(captions.folder / "best.pt"))
    first, second = model_of(captions)["temporal.positions"], model_of(run)["temporal.positions"]
    assert first.shape[1] == 5 and torch.equal(second, first[:, :3])
    assert "cut: temporal.positions (the first 3 of 5)" in taken_line(run)[0]
    log = (run.folder / "log.txt").read_text().splitlines()
    assert "  taken  temporal.class_token" in log and any(line.startswith("  left   tokens ") for line in log)


def test_two_streams_load_the_only_stream_of_the_file(source, best, runs):
    words = [*STILL, "--lr-prompt-learner", "0", "--lr-adapter", "0", "--contexts-number", "8", "--seed", "6"]
    run = runs("two streams", *words, *init_from(best))
    second, rest = model_of(run), taken_line(run)[1]
    assert equal_tensors(second, model_of(source), [name for name in second if name.startswith("face_temporal.")])
    assert all(part in rest for part in ("adapter", "context_temporal", "fuse")) and "face_temporal" not in rest


def test_a_caption_model_initialises_a_model_with_other_classes(runs, captions, tmp_path):
    texts = tmp_path / "classes.json"
    entries = [{"name": name, "class_descriptor": f"a {name} face"} for name in "calm glad lost tired away".split()]
    texts.write_text(json.dumps({"classes": entries}))
    words = [*CAPTIONS, "--lr", "0", "--seed", "6", "--class-texts", str(texts)]
    second = model_of(runs("next", *words, *init_from(captions.folder / "best.pt")))
    plain, first = model_of(runs("plain captions", *words)), model_of(captions)
    assert torch.equal(second["tokens"], plain["tokens"]) and not torch.equal(second["tokens"], first["tokens"])
    assert equal_tensors(second, first, ["logit_scale", *(name for name in second if name.startswith("temporal."))])


@pytest.mark.parametrize(
    "file",
    [
        ROOT / "weights/demo_best.pt",  # of another width
        ROOT / "weights/mini_clip.safetensors",
        ROOT / "README.md",
        "nowhere.pt",
        ROOT,
        None,  # a caption model, whose temporal transformer is not that of a stream
    ],
)
def test_a_file_without_a_temporal_transformer_that_fits_gives_a_one_line_error(
    file, captions, arguments, tmp_path, capsys
):
    path = str(file or captions.folder / "best.pt")
    message = error_of([*arguments, *DFER, *init_from(path), "--output-dir", str(tmp_path / "run")], capsys)
    assert path in message and (file is not None or "temporal" in message)
    assert not (tmp_path / "run/best.pt").exists()


def test_a_published_file_that_lacks_a_tensor_is_read_on_request(arguments, tmp_path, capsys):
    layer = "temporal_net.cls_token"
    path = write_container(tmp_path / "model.pth", files.clip_caer(Recipe()).changed({layer: None}))
    assert "--allow-partial" in error_of([*arguments, *STILL, *init_from(path)], capsys)
    run = run_ok([*arguments, *STILL, *init_from(path), "--allow-partial"], tmp_path / "run")
    assert "face_temporal.class_token (not in it)" in (run.folder / "log.txt").read_text()
