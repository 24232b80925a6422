"""The benchmarks run: on tiny shapes, with one round; and the table in the documents is made from their results."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import demo, gpu, rounding, tables
from benchmarks import train as bench_train
from benchmarks.timing import Seconds, ratio_of
from tests.support.tools import ROOT


def test_ratios_are_of_rounds_not_of_medians():
    slow, fast = [[Seconds(s, 2 * s) for s in values] for values in ([1.0, 8.0, 3.0], [1.0, 2.0, 1.0])]
    found = ratio_of(slow, fast)
    assert (found["ratio"], found["lowest"], found["highest"]) == (3.0, 1.0, 4.0)


def test_every_row_of_the_gpu_benchmark_runs_on_the_cpu(tmp_path, monkeypatch, capsys):
    """So that minutes on a real GPU are never lost to a slip."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", f"gpu --dry --out {tmp_path / 'gpu.json'}".split())
    assert gpu.main() == 0
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    rows = found["rows"]
    assert not [row for row in rows if "failed" in row] and all(row["clips_per_second"] > 0 for row in rows)
    compute = {(row["kind"], row["loop"], row["type"]) for row in rows if row["of"] == "compute"}
    types = {"ours": ("float32", "tf32", "bf16", "fp16"), "published": ("float32", "fp16")}
    assert compute == {(k, who, t) for k in ("full", "frozen", "cached") for who, names in types.items() for t in names}
    assert {(row["of"], row["loop"]) for row in rows if row["of"] in ("JPEG", "pack")} == {
        ("JPEG", "ours"), ("pack", "ours"), ("JPEG", "published"),
    }  # fmt: skip
    assert found["machine"]["command"] and tables.gpu_table(found) in capsys.readouterr().out


def test_exact_updates_are_those_of_double_precision():
    """Updates far below what float32 tells apart add up, and the model gets their sum rounded once."""
    weight = torch.nn.Parameter(torch.tensor([0.5, -2.0]))
    double = torch.nn.Parameter(weight.detach().double())
    optim = SimpleNamespace(momentum=0.9, weight_decay=1e-2)
    exact = rounding.ExactSGD([{"name": "image encoder", "params": [weight], "lr": 1e-7}], optim)
    plain = torch.optim.SGD([double], lr=1e-7, momentum=0.9, weight_decay=1e-2)
    for _ in range(50):
        weight.grad, double.grad = torch.tensor([0.01, -0.02]), torch.tensor([0.01, -0.02]).double()
        exact.step()
        plain.step()
    assert torch.equal(weight.detach(), double.detach().float()) and weight[0] != 0.5


def test_rows_that_no_time_is_left_for_are_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", f"gpu --dry --minutes -1 --out {tmp_path / 'gpu.json'}".split())
    assert gpu.main() == 0
    rows = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["rows"]
    assert rows and all(row["failed"].startswith("not measured") for row in rows)


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


def test_the_tables_of_the_documents_are_what_the_demo_printed():
    runs = json.loads((ROOT / "benchmarks/results/demo.json").read_text(encoding="utf-8"))["runs"]
    assert list(runs) == list(demo.RUNS)
    table = demo.table(runs)
    assert table in Path(ROOT, "docs/results.md").read_text(encoding="utf-8")
    assert "\n".join(table.splitlines()[:7]) in Path(ROOT, "README.md").read_text(encoding="utf-8")
