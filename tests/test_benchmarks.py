"""The benchmarks run: on tiny shapes, with one round; and the table in the documents is made from their results."""

import json
from pathlib import Path

import pytest

from benchmarks import demo, gpu, tables
from benchmarks import train as bench_train
from benchmarks.timing import Seconds, ratio_of
from tests.tools import ROOT


def test_ratios_are_of_rounds_not_of_medians():
    slow, fast = [[Seconds(s, 2 * s) for s in values] for values in ([1.0, 8.0, 3.0], [1.0, 2.0, 1.0])]
    found = ratio_of(slow, fast)
    assert (found["ratio"], found["lowest"], found["highest"]) == (3.0, 1.0, 4.0)


def test_the_gpu_benchmark_runs_on_the_cpu(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = f"gpu --device cpu --shapes tiny --steps 2 --out {tmp_path / 'gpu.json'}".split()
    monkeypatch.setattr("sys.argv", words)
    assert gpu.main() == 0
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert [(row["kind"], row["loop"], row["type"]) for row in found["rows"]] == [
        (kind, *which)
        for kind in ("frozen", "cached", "full")
        for which in (("published", "float32"), ("ours", "float32"), ("ours", "bf16"))
    ]
    assert all(row["compute_clips_per_second"] > 0 and row["end_to_end_clips_per_second"] > 0 for row in found["rows"])
    assert found["machine"]["command"] and found["machine"]["processor"]


@pytest.mark.parametrize("part", ["frozen", "full", "evaluation", "parts"])
def test_a_part_of_the_training_benchmark_runs(part, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = f"train --shapes tiny --rounds 1 --no-compile --only {part} --out {tmp_path / 'train.json'}"
    monkeypatch.setattr("sys.argv", words.split())
    assert bench_train.main() == 0
    found = json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))
    assert part in found and capsys.readouterr().out.count("\n| ") >= 1
    if part == "evaluation":
        assert found[part]["largest difference of logits"] < 1e-3


def test_the_table_in_the_documents_is_the_measured_one():
    measured = json.loads((ROOT / "benchmarks/results/train.json").read_text(encoding="utf-8"))
    assert tables.training_table(measured) in Path(ROOT, "docs/performance.md").read_text(encoding="utf-8")


def test_the_table_of_the_readme_is_what_the_demo_printed():
    runs = json.loads((ROOT / "benchmarks/results/demo.json").read_text(encoding="utf-8"))["runs"]
    assert list(runs) == list(demo.RUNS)
    assert demo.table(runs) in Path(ROOT, "README.md").read_text(encoding="utf-8")
