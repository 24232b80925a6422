"""The benchmarks run on tiny shapes and compute what they claim; the tables in the documents are the measured ones."""

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import clips_from_videos, demo, gpu, growth, lesson, plain, rounding, stills, tables, video_segments
from benchmarks import train as bench_train
from benchmarks.fuzz import CRASHED, KINDS, UNNAMED, fuzz, names_file_and_line, table, time_limit
from benchmarks.mutations import ValidInputs
from benchmarks.subject import make_subject, small_shape
from benchmarks.timing import Seconds, ratio_of
from dataloader.track import CutDetector
from dataloader.video import open_video
from tests.support.tools import ROOT


def results_of(module, words, out, monkeypatch):
    """Run a benchmark as from the command line and return what it measured."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", [*words.split(), "--out", str(out)])
    assert module.main() == 0
    return json.loads(out.read_text(encoding="utf-8"))


def test_ratios_are_computed_per_round():
    slow, fast = [[Seconds(s, 2 * s) for s in values] for values in ([1.0, 8.0, 3.0], [1.0, 2.0, 1.0])]
    ratio = ratio_of(slow, fast)
    assert (ratio["ratio"], ratio["lowest"], ratio["highest"]) == (3.0, 1.0, 4.0)


def test_every_row_of_the_gpu_benchmark_runs_on_the_cpu(tmp_path, monkeypatch, capsys):
    """So that an error in the benchmark does not waste minutes on a GPU."""
    monkeypatch.setattr("benchmarks.subject.FRAMES", 2)
    monkeypatch.setattr(gpu, "FRAMES", 2)
    monkeypatch.setattr(gpu, "LARGE", {"cpu": 64})
    monkeypatch.setattr(gpu, "EVALUATION_CLIPS", (8,))
    subject_of = cache(lambda words, *rest: make_subject(*rest[:2], list(words), *rest[2:]))
    monkeypatch.setattr(gpu, "make_subject", lambda *rest: subject_of(tuple(rest[2]), *rest[:2], *rest[3:]))
    monkeypatch.setattr(gpu, "RECIPE", [*gpu.RECIPE, "--num-segments", "2", "--batch-size", "2"])
    results = results_of(gpu, "gpu --dry --workers 1", tmp_path / "gpu.json", monkeypatch)
    rows = results["rows"]
    assert not [row for row in rows if "failed" in row] and all(row["clips_per_second"] > 0 for row in rows)
    compute = {(row["kind"], row["loop"], row["type"]) for row in rows if row["of"] == "compute"}
    types = {"ours": ("float32", "tf32", "bf16", "fp16"), "published": ("float32", "fp16")}
    expected = {
        (k, loop, name) for k in ("full", "frozen", "cached") for loop, names in types.items() for name in names
    }
    assert compute == expected | {("LoRA", "ours", name) for name in types["ours"]}  # the published loop has no LoRA
    loading = {(row["of"], row["loop"]) for row in rows if row["of"] in ("JPEG", "pack")}
    assert loading == {("JPEG", "ours"), ("pack", "ours"), ("JPEG", "published")}
    assert results["machine"]["command"] and tables.gpu_table(results) in capsys.readouterr().out


def test_rows_of_the_gpu_benchmark_without_time_are_reported(tmp_path, monkeypatch):
    rows = results_of(gpu, "gpu --dry --minutes -1", tmp_path / "gpu.json", monkeypatch)["rows"]
    assert rows and all(row["failed"].startswith("not measured") for row in rows)


def test_clips_from_videos_are_those_of_the_jpegs(tmp_path, monkeypatch, capsys):
    words = "clips_from_videos --rounds 1 --frames 10 --size 64x48"
    rows = results_of(clips_from_videos, words, tmp_path / "videos.json", monkeypatch)["rows"]
    assert [(row["clips"], row["videos"], row["frames of a clip"]) for row in rows] == [(5, 5, 10), (10, 2, 10)]
    assert all(row["megabytes per clip"]["videos"] < row["megabytes per clip"]["JPEGs"] for row in rows)
    assert all(
        number > 0 for row in rows for key in ("clips per second", "seconds per clip") for number in row[key].values()
    )
    assert clips_from_videos.table({"rows": rows}) in capsys.readouterr().out


@pytest.mark.parametrize("part", ["frozen", "full", "evaluation", "parts", "texts"])
def test_every_part_of_the_training_benchmark_runs(part, tmp_path, monkeypatch, capsys):
    words = f"train --shapes tiny --rounds 1 --no-compile --only {part}"
    results = results_of(bench_train, words, tmp_path / "train.json", monkeypatch)
    assert part in results and capsys.readouterr().out.count("\n| ") >= 1
    if part == "evaluation":
        assert results[part]["largest difference of logits"] < 1e-3


def test_the_tables_in_the_documents_are_the_measured_ones():
    for name, write, document in (
        ("train", tables.training_table, "performance"),
        ("texts", tables.training_table, "performance"),
        ("data", tables.data_table, "performance"),
        ("lora", tables.lora_table, "backbones"),
        ("growth", growth.table, "scaling"),
        ("stills", stills.table, "results"),
        ("clips_from_videos", clips_from_videos.table, "performance"),
    ):
        text = (ROOT / f"docs/{document}.md").read_text(encoding="utf-8")
        measured = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))
        assert write(measured) in text, name


@pytest.mark.parametrize(("seconds", "slope"), [([2, 20], "1.00"), ([2, 200], "2.00"), ([2, 2], "0.00"), ([0, 2], "")])
def test_the_slope_is_that_of_the_logarithms(seconds, slope):
    rows = [{"size": size, "seconds": figure} for size, figure in zip((10, 100), seconds, strict=True)]
    assert growth.slopes(rows, "seconds") == ["", slope]


def test_growth_is_measured_in_processes_of_their_own(tmp_path, monkeypatch, capsys):
    """Boxes of 4 and of 4,000 clips: the many need more time and more memory."""
    row = "read boxes of faces and bodies"
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(growth.ROWS, row, (*growth.ROWS[row][:2], [4, 4000], growth.ROWS[row][3]))
    monkeypatch.setattr("sys.argv", ["growth", "--only", row, "--out", str(tmp_path / "growth.json")])
    assert growth.main() == 0
    few, many = json.loads((tmp_path / "growth.json").read_text(encoding="utf-8"))["rows"][row]
    assert (few["size"], many["size"]) == (4, 4000)
    assert many["seconds"] > 5 * few["seconds"] and many["raised_mb"] > few["raised_mb"]
    assert (tmp_path / "growth.png").stat().st_size > 1000 and f"| {row} | 4,000 clips |" in capsys.readouterr().out


def test_a_grid_of_persons_has_no_cut_after_which_persons_would_get_new_numbers(tmp_path, monkeypatch):
    """When all clips changed at once, 4 persons were counted as 8."""
    person = [video_segments.Segment(0.0, 8.0, "p", 0, clips) for clips in ([10, 250], [130, 70])]  # brightness

    def play(segments, root, scale, fps):
        for brightness in (clip for segment in segments for clip in segment.clips):
            for number in range(round(video_segments.CLIP_SECONDS * fps)):
                frame = np.full((60, 80, 3), brightness, np.uint8)
                frame[20:40, number : number + 20] = 128  # something that moves
                yield video_segments.VideoFrame(0.0, frame, None, None)

    monkeypatch.setattr(video_segments, "segments_by_person", lambda *_: [person] * 8)
    monkeypatch.setattr(video_segments, "play", play)
    growth.write_persons(tmp_path, [4], tmp_path)
    is_cut, video = CutDetector(), list(open_video(tmp_path / "4.mp4"))
    assert len(video) == 16 * growth.FPS and not any(is_cut(frame) for _, frame in video)
    assert video[0][1].shape == (120, 320, 3) and np.abs(video[0][1][60:].astype(int) - 128).max() < 8  # 4 are empty


def test_exact_updates_are_those_of_double_precision():
    """Updates below the resolution of float32 are summed, and the model gets their sum rounded once."""
    weight = torch.nn.Parameter(torch.tensor([0.5, -2.0]))
    double = torch.nn.Parameter(weight.detach().double())
    optim = SimpleNamespace(momentum=0.9, weight_decay=1e-2)
    exact = rounding.ExactSGD([{"name": "image encoder", "params": [weight], "lr": 1e-7}], optim)
    sgd = torch.optim.SGD([double], lr=1e-7, momentum=0.9, weight_decay=1e-2)
    for _ in range(50):
        weight.grad, double.grad = torch.tensor([0.01, -0.02]), torch.tensor([0.01, -0.02]).double()
        exact.step()
        sgd.step()
    assert torch.equal(weight.detach(), double.detach().float()) and weight[0] != 0.5


@pytest.mark.parametrize("recipe", ["clip_caer", "advanced"])
def test_the_plain_model_has_our_logits_with_the_same_weights(recipe):
    subject = make_subject(small_shape(), recipe, ["--adapter", "published"] if recipe == "advanced" else [])
    face, context = torch.rand(2, 3, 4, 3, 64, 64)
    task, model = subject.task, subject.plain(dropout=0.0)
    task.model.eval()
    with torch.no_grad():
        logits = task.forward({"face": face, "context": context}).logits
        expected = model.forward(face, context)[0]
        assert expected.std() > 0.01 and (logits - expected).abs().max() < 1e-3
        model.w["fuse.weight"].data[0, 0] += 1.0
        assert (logits - model.forward(face, context)[0]).abs().max() > 1e-3


def test_one_step_of_the_plain_loop_moves_the_weights_as_ours_does():
    subject = make_subject(small_shape(), "advanced", ["--adapter", "published", "--label-smoothing", "0"])
    face, context = torch.rand(2, 3, 4, 3, 64, 64)
    batch = {"face": face, "context": context, "label": torch.tensor([0, 3, 4]), "id": ["a", "b", "c"]}
    reference = subject.plain(dropout=0.0)
    optimizer = torch.optim.SGD(reference.parameters(), lr=1.0)
    loss = subject.config.loss
    plain.step(reference, optimizer, face, context, batch["label"], mi=loss.mi_loss_weight, dc=loss.dc_loss_weight)
    task = subject.task
    task.loss = subject.changed_loss(logit_adj=False, mi_warmup=0, mi_ramp=0, dc_warmup=0, dc_ramp=0)
    task.model.train()
    for module in task.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.SGD([p for p in task.model.parameters() if p.requires_grad], lr=1.0)
    sum(task.losses(task.forward(batch), batch, 0).values()).backward()
    optimizer.step()
    state, before = task.model.state_dict(), subject.start
    for name, tensor in reference.w.items():
        moved = (tensor.detach() - before[name]).abs().max()
        assert (tensor.detach() - state[name]).abs().max() <= 1e-3 * moved + 1e-6, name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--nope", "unrecognized arguments: --nope"),
        ("--out l.txt", "--out l.txt: expected a file that ends in .mp4"),
        ("--out .", "--out .: expected a file that ends in .mp4"),
        ("--out file/l.mp4", "--out file: file exists"),
        ("--picture p.gif", "--picture p.gif: expected a file that ends in .jpg or .jpeg or .png"),
        ("--picture p.jpg --checkpoint nope.pt", "nope.pt: no such checkpoint file"),
    ],
)
def test_a_mistake_is_reported_before_a_lesson_is_written(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lesson, "write_set", lambda *_: pytest.fail("drawn"))
    (tmp_path / "file").touch()
    assert lesson.main(words.split()) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_root_dir_with_other_files_is_named_by_its_flag(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    assert lesson.main(["--root-dir", "mine", "--out", "new/lesson.mp4"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: --root-dir mine exists and is not a set of this generator") and "--out" not in err
    assert err.count("\n") == 1 and (tmp_path / "new").is_dir()


CASES = {"stored options": 20, "hub folder, config.json": 20}
SLOW = ("last.pt", "onnx", "checkpoint", "stored tensors", "safetensors", "clip", "hub folder")  # to write or to read


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> ValidInputs:
    return ValidInputs(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused_in_one_line(kind, sound):
    """benchmarks/fuzz.py tries thousands of each kind."""
    cases = 4 if kind.startswith("run folder") else CASES.get(kind, 12 if kind.startswith(SLOW) else 40)
    counts, failures = fuzz([kind], cases, 0, sound)
    assert sum(counts.values()) == cases
    assert not failures, "\n".join([*failures, table([kind], counts)])


def test_most_damaged_lists_are_refused_and_some_are_accepted(sound):
    """Otherwise the fuzzer would only show that every file is refused, or that no file is damaged."""
    counts, _ = fuzz(["annotation"], 200, 0, sound)
    refused = sum(count for (_, outcome), count in counts.items() if outcome not in (CRASHED, UNNAMED))
    assert counts["annotation", "accepted"] > 10 and refused > 100


@pytest.mark.parametrize(
    ("message", "kind", "is_good"),
    [
        ("{file}, line 3: no folder x", "annotation", True),
        ("{file}: no folder x", "annotation", False),
        ("line 3: no folder x", "annotation", False),
        ("{file}, line 3: no folder \x1b[2J", "annotation", False),
        ("{file}: broken JSON (x)", "classes", False),
        ("{file}, line 1: broken JSON (x)", "classes", True),
    ],
)
def test_the_fuzzer_requires_file_and_line_in_a_message(tmp_path, message, kind, is_good):
    file = tmp_path / "list.txt"
    assert bool(names_file_and_line(message.format(file=file), file, kind)) is is_good


def test_the_fuzzer_ends_a_case_that_hangs():
    with pytest.raises(BaseException, match="more than"), time_limit(0.05):
        while True:
            pass


def test_the_tables_of_the_documents_are_those_of_the_demo():
    result = json.loads((ROOT / "benchmarks/results/demo.json").read_text(encoding="utf-8"))
    assert list(result["runs"]) == list(demo.ROWS)
    for document in ("docs/results.md", "README.md"):
        assert demo.table(result) in Path(ROOT, document).read_text(encoding="utf-8")
