"""--mode report: the page and its Markdown version show the contents of a run folder, and nothing else."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from analysis.report.runs import distinct_names
from main import main
from tests.support.pages import LIMIT, Page, make
from tests.support.run_folders import (
    CALIBRATION,
    CONFUSION,
    class_metrics,
    number_metrics,
    put,
    video_metrics,
    write_ablation,
    write_mistakes,
    write_predictions,
    write_run,
)
from tests.support.tools import error_of

FEW_CONFUSION = "Confusion has 7, so one clip changes UAR by 4.76 points"  # 100 / 7 / 3


@pytest.fixture(scope="module")
def single(tmp_path_factory) -> tuple[Page, str, Path]:
    root = tmp_path_factory.mktemp("single")
    run = write_mistakes(write_run(root / "run", use_weighted_sampler=True))
    Image.new("RGB", (9, 9)).save(run / "confusion_matrix.png")
    return *make([run], root / "out"), root / "out"


def test_the_report_starts_with_the_measurement_and_warnings(single):
    page, twin, _ = single
    lead, warnings = page.texts("p")[0], page.texts("li")
    text = f"UAR is {(75 + 90 + 400 / 7) / 3:.1f} % (95 % interval 61.5 – 83.2)"
    assert f"{text}, the mean recall of 3 classes, on 97 test clips of 12 persons." in lead and text in twin
    assert "Guessing gives 33.3 %" in lead and "selected on validation clips" in lead
    assert page.texts("h2")[0] == "What to know first" and twin.index("12 of 12") < twin.index("## Scores")
    assert any(text.startswith("setting: --use-weighted-sampler") for text in warnings)
    once = ("12 of 12 test persons are in train", FEW_CONFUSION, "Drawn students.", "21.8 points wide")
    assert [sum(words in text for text in warnings) for words in once] == [1] * 4


def test_confusions_and_recalls_have_counts_shades_and_bars(single):
    page, twin, _ = single
    cells = page.texts("td")
    assert all((f"{100 * n / sum(row):.1f} % ({n})" if n else "0") in cells for row in CONFUSION for n in row)
    assert "Confusion (7)" in page.texts("th") and "| Confusion (7) | 14.3 % (1) | 28.6 % (2) | 57.1 % (4) |" in twin
    shades = re.findall(r'<td class="(s\d+)">([\d.]+).%', page.source)
    assert len(shades) == sum(count > 0 for row in CONFUSION for count in row)
    assert all(shade == f"s{round(float(share) / 10)}" for shade, share in shades)
    bars = re.findall(r'<i style="left:([\d.]+)%;right:([\d.]+)%"></i><b style="left:([\d.]+)%">', page.source)
    assert bars == [("40.0", "0.0", "75.0"), ("40.0", "0.0", "90.0"), ("40.0", "0.0", "57.1")]  # 40 to 100 %
    assert re.search(r"\| Confusion \| 57\.1.% \| 40\.0 – 100\.0 \| 66\.6.% \| – \| 7 \| 4\.76 \|", twin)
    assert re.search(r"\| Neutrality \| 75\.0.% \| .* \| 40 \| 0\.83 \|", twin)  # 100 / 40 / 3


def test_figures_are_described_in_words(single):
    page, twin, _ = single
    labels = [values["aria-label"] for tag, values in page.attributes if tag == "svg" and "aria-label" in values]
    assert "Loss over 3 epochs: train from 3 to 1; val, cross entropy from 6 to 2" in labels
    assert "Recall over 3 epochs: train UAR from 20 to 60; val UAR from 10 to 30" in labels
    assert "18.6 % wrong of all clips, 10.0 % of the more confident half" in " ".join(page.texts("span"))
    assert "11.50 %" in twin and "1.750" in twin and "fitted on val" in twin  # of the calibration
    pictures = [values for tag, values in page.attributes if tag == "img"]
    assert len(pictures) == 1 and pictures[0]["src"].startswith("data:image/jpeg;base64,")
    assert "Clip Set/P1/7 of person P1: Confusion predicted as Enjoyment with 93" in pictures[0]["alt"]
    assert any("pictures of persons" in text for text in page.texts("p")) and "pictures of persons" in twin


def test_options_that_differ_and_every_option(single):
    _, twin, _ = single
    visible = twin.split("<details>")[0]
    assert "| --use-weighted-sampler | True |" in visible and "| --epochs | 3 |" in visible
    assert "--gamma" not in visible and "| --gamma | 0.1 |" in twin
    assert "train | 383 clips of 22 persons: Neutrality 150" in visible


def test_the_page_fetches_and_runs_nothing_and_links_of_the_text_lead_to_pictures(single):
    page, twin, out = single
    tags = {tag for tag, _ in page.attributes}
    assert not tags & {"script", "iframe", "object", "audio", "video"}
    addresses = [v for _, values in page.attributes for k, v in values.items() if k in ("src", "href", "srcset")]
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
    assert "url(" not in page.source and "@import" not in page.source and len(page.source) < LIMIT
    links = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", twin)
    assert len(links) == 2 and all((out / unquote(link)).is_file() for link in links)


def test_without_stored_frames_the_report_shows_none(tmp_path):
    run = write_mistakes(write_run(tmp_path / "run"))
    page, twin = make([run], tmp_path / "out", "--no-mistake-frames")
    assert not [tag for tag, _ in page.attributes if tag == "img"] and "mistakes/" not in twin
    assert "pictures of persons" not in page.source
    assert "Set/P1/7" in twin and "93.4" in twin  # the table still exists


def test_names_cannot_become_markup(tmp_path):
    names = ("<script>alert(1)</script>", 'a"b', "x|y*z")
    run = write_run(tmp_path / "run", class_metrics(names), exper_name="<img src=x> | [a](b)")
    page, twin = make([run], tmp_path / "out")
    assert not {"script"} & {tag for tag, _ in page.attributes} and names[0] in page.texts("th")
    assert page.texts("h1") == ["<img src=x> | [a](b)"] and not [t for t, _ in page.attributes if t == "img"]
    assert r"x\|y\*z" in twin and "<script" not in twin.replace(r"\<script", "")


def test_one_run_is_reported_in_its_own_folder(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    assert main(["--mode", "report", str(run)]) == 0
    assert capsys.readouterr().out.split() == [str(run / "report.html"), str(run / "report.md")]
    assert (run / "report.html").is_file() and (run / "report.md").is_file()


def test_older_runs_have_fewer_sections_but_a_report(tmp_path):
    run = write_run(tmp_path / "run", class_metrics(is_new=False), facts=None)
    for name in ("metrics.jsonl", "predictions.csv", "curves.png"):
        (run / name).unlink()
    page, twin = make([run], tmp_path / "out")
    assert "Training" not in page.texts("h2") and "has no calibration" in twin
    assert "No intervals:" in twin and f"Few test clips in some classes: {FEW_CONFUSION}." in twin


MEMBERS = [{"uar": 70.0, "war": 71.0, "macro_f1": 69.0}, {"uar": 80.0, "war": 81.0, "macro_f1": 79}]


def test_seeds_are_summed_up_without_a_confusion_matrix(tmp_path):
    runs = {f"seed-{n}": MEMBERS[n - 1] for n in (1, 2)}
    metrics = class_metrics(runs=runs, seeds=[1, 2], uar_mean=75.0, uar_sd=7.071, ensemble={"uar": 82.5, "war": 82.0})
    for name in ("confusion", "absent_classes", "calibration", "risk_coverage"):
        metrics.pop(name)
    series = write_run(tmp_path / "seeds", metrics)
    write_mistakes(write_run(series / "seed-1"))
    (series / "predictions.csv").unlink()
    page, twin = make([series, write_run(tmp_path / "single")], tmp_path / "out")
    assert (
        ", mean over 2 seeds." in twin
        and "UAR is 74.0 %" in twin
        and "| all models together | 82.50 | 82.00 | – |" in twin
    )
    assert page.texts("h3").count("Confusion") == 1 and "not comparable" not in twin


LISTS = {
    "val": {"clips": 3, "persons": None, "classes": {"a": 1, "b": 2}},
    "face boxes": {"kind": "face", "clips": 8, "clips_with_box": 6, "frames": 40, "frames_with_box": 30},
    "body boxes": {"kind": "body", "clips": 8, "clips_with_box": 8, "frames": 8, "frames_with_box": 8},
    "validation": {"videos": 2, "contents": ["2 videos, 11 frames", "va: 9 of 11 frames labelled"]},
    "all": {"clips": 30, "subjects": 6, "folds": 1, "targets": ["x", "y"]},
}
WITHHELD = {"threshold": 0.6, "coverage": 0.75, "answered": 72, "uar": 81.0, "intervals": {"coverage": [0.7, 0.8]}}
ABSENT = [[3, 1, 0], [0, 4, 0], [0, 0, 0]]


def warnings(*kinds):
    return {"warnings": [{"kind": kind, "text": f"warned of {kind}"} for kind in kinds]}


@pytest.mark.parametrize(
    ("metrics", "facts", "texts", "absent"),
    [
        (
            class_metrics(abstain=WITHHELD),
            None,
            ["| answered | 75.00 % | 70.00 – 80.00 | answers with a confidence of at least 0.6 |"]
            + ["| UAR of these | 81.00 % | – |"],
            [],
        ),
        (
            class_metrics(confusion=ABSENT),
            None,
            ["No test clip of Confusion. UAR is the mean over the other classes.", "| absent |"],
            ["Guessing"],
        ),
        (
            class_metrics(selected_on="test: optimistic"),
            None,
            [
                "selected on the test clips by UAR, so the score is",
                "The epoch was selected on test, so the score is optimistic.",
            ],
            [],
        ),
        (  # stored warnings are not derived again
            class_metrics(confusion=ABSENT, selected_on="test: optimistic"),
            warnings("test class_missing", "test few_clips", "setting"),
            ["**setting:** warned of setting", "**data:** warned of test class_missing", "Few test clips in some"],
            ["The epoch was selected on test,", "No test clip", "were kept"],
        ),
        (number_metrics(), warnings("few_subjects"), ["warned of few"], ["these scores say little"]),
        (
            class_metrics(),
            {"data": LISTS},
            ["| val | 3 clips: a 1, b 2 |", "The persons of this set are not known."]
            + ["| face boxes | 6 of 8 clips (75.0%), 30 of 40 frames (75.0%) |"]
            + ["| body boxes | 8 of 8 clips (100.0%) |", "| all | 30 clips of 6 subjects in 1 fold; x, y |"]
            + ["| validation | 2 videos, 11 frames |", "| validation | va: 9 of 11 frames labelled |"],
            [],
        ),
        (
            {"va/ccc_mean": 0.5, "va/ccc_sd": 0.25, "runs": {"seed-1": {"va/ccc": 0.4}}, "seeds": [1]},
            None,
            ["| va/ccc | 0.500 | 0.250 |"],
            [],
        ),
        ({"face R@1": 0.25, "loss": 2.0}, None, ["| face R@1 | 0.250 |"], []),
    ],
)
def test_a_report_lists_the_contents_of_a_run(tmp_path, metrics, facts, texts, absent):
    run = write_run(tmp_path / "run", metrics, facts, select_on="test", test_annotation="test.txt")
    _, twin = make([run], tmp_path / "out")
    assert [text for text in texts if text not in twin] == []
    assert [text for text in absent if text in twin] == []


def test_a_series_lists_its_runs_and_shows_their_mistakes(tmp_path):
    runs = {f"fold-{n}": MEMBERS[n - 1] for n in (1, 2)}
    spread = {"uar_mean": 75.0, "uar_sd": 7.071, "war_mean": 76.0, "war_sd": 7.071}
    series = write_run(tmp_path / "series", class_metrics(runs=runs, **spread))
    write_mistakes(write_run(series / "fold-2"))
    page, twin = make([series], tmp_path / "out")
    assert "| fold-2 | 80.00 | 81.00 | 79.00 |" in twin and "75.00 ± 7.07" in twin
    assert "2 runs scored together" in twin and [tag for tag, _ in page.attributes if tag == "img"]


@pytest.mark.parametrize(
    ("metrics", "picture", "words"),
    [
        (
            video_metrics(),
            "timeline.png",
            ["| Expression, macro F1 | 0.500 | 0.100 – 0.900 | 6 |", "| valence | -0.300 | -0.400 – -0.200 |"],
        ),
        (
            number_metrics(),
            "agreement.png",
            ["| withdrawal | 0.900 | 1.100 | 0.670 | 0.660 | 0.400 – 0.800 | 30 |", "6 subjects"],
        ),
    ],
)
def test_other_kinds_of_runs(tmp_path, metrics, picture, words):
    run = write_run(tmp_path / "run", metrics, facts=None)
    Image.new("RGB", (1600, 900)).save(run / picture)
    page, twin = make([run], tmp_path / "out")
    assert all(word in twin for word in words)
    assert [tag for tag, _ in page.attributes].count("img") == 1


def test_runs_side_by_side(tmp_path):
    better = class_metrics(confusion=[[36, 4, 0], [5, 45, 0], [1, 2, 4]], is_new=False)  # recalls 90, 90 and 57.14 %
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", better, facts=None, lr=0.01)]
    page, twin = make(runs, tmp_path / "out")
    assert page.texts("h1") == ["2 runs compared"] and page.texts("h2")[1] == "Comparison"
    assert page.texts("p")[0].startswith("UAR, highest first: b 79.0") and "then" not in page.texts("p")[0]
    assert re.search(r"\| Neutrality \| 75\.0.% \(40\.0 – 100\.0\) \| 90\.0.% ★ \| 40 \|", twin)
    assert not re.search(r"\| Enjoyment \|[^\n]*★", twin.split("What differs")[0])  # the same in both
    assert "| --lr | 0.0003 | 0.01 |" in twin and "| --gamma" not in twin.split("## Run a")[0]
    assert "not comparable" not in twin


def test_scores_on_other_clips_are_called_incomparable(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b")]
    write_predictions(runs[1] / "predictions.csv", clips=5)
    _, twin = make(runs, tmp_path / "out")
    assert "b: scored on other clips or labels than a. The scores are not comparable." in twin


def test_runs_of_different_kinds_and_classes(tmp_path):
    kinds = {"a": class_metrics(), "b": class_metrics(("happy", "sad", "Neutrality")), "c": video_metrics()}
    kinds["d"] = number_metrics()
    page, twin = make([write_run(tmp_path / name, metrics) for name, metrics in kinds.items()], tmp_path / "out")
    assert re.search(r"\| happy \| – \| 75\.0.%", twin) and "| c | -0.100 | 0.500 (0.100 – 0.900) | – | 2 | 0 |" in twin
    assert len(page.source) < LIMIT and [f"Run {name}" for name in kinds] == page.texts("h2")[-4:]


def test_a_number_that_is_rounded_to_zero_has_no_sign(tmp_path):
    metrics = number_metrics()
    metrics["targets"]["withdrawal"] |= {"ccc": -0.0001, "pearson": -0.00049, "mae": 0.0}
    metrics["intervals"]["targets"]["withdrawal"]["ccc"] = [-0.0004, 0.2]
    page, twin = make([write_run(tmp_path / "a", metrics)], tmp_path / "out")
    assert "0.000 – 0.200" in twin and not re.search(r"-0\.0+\b", twin + page.source)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "metrics.json").unlink(), "no metrics.json, so this run is not scored"),
        (lambda run: (run / "config.json").unlink(), "no config.json, so it is not a run folder"),
        (lambda run: (run / "metrics.json").write_text('{\n"uar": '), "metrics.json, line 2, column 8: broken JSON"),
        (lambda run: put(run / "metrics.json", [1]), "expected a table"),
        (lambda run: (run / "metrics.jsonl").write_text("{}\nhalf"), "metrics.jsonl, line 2"),
        (lambda run: (run / "metrics.json").write_bytes(b"\xff\xfe"), "metrics.json: not a UTF-8 text file"),
    ],
)
def test_a_damaged_folder_gives_a_one_line_error(tmp_path, capsys, spoil, message):
    run = write_run(tmp_path / "run")
    spoil(run)
    assert message in error_of(["--mode", "report", str(run)], capsys)
    assert not (run / "report.html").exists()


def test_a_wrong_command_line_of_report_gives_a_one_line_error(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    assert "no such folder" in error_of(["--mode", "report", str(tmp_path / "none")], capsys)
    assert "name the run folder" in error_of(["--mode", "report", str(run / "config.json")], capsys)
    assert "named twice" in error_of(["--mode", "report", str(run), f"{run}/../run"], capsys)


def test_a_temperature_that_makes_calibration_worse_is_among_the_first_things(tmp_path):
    worse = CALIBRATION | {"raw": {"ece": 5.7, "nll": 0.5, "brier": 0.3}}
    better = CALIBRATION | {"raw": {"ece": 15.7, "nll": 0.5, "brier": 0.3}}
    runs = [write_run(tmp_path / name, class_metrics(calibration=c)) for name, c in (("a", worse), ("b", better))]
    texts = [make([run], tmp_path / f"out-{run.name}")[1].replace("\N{NO-BREAK SPACE}", " ") for run in runs]
    text = "The fitted temperature makes calibration worse. The ECE is 11.5 % with it and 5.7 % without it."
    assert text in texts[0].split("## Scores")[0] and "makes calibration worse" not in texts[1]


def test_a_finished_ablation_shows_its_variants_with_their_seeds_and_the_paired_test(tmp_path):
    folder = write_ablation(tmp_path / "ablation")
    page, twin = make([folder], tmp_path / "out")
    assert page.texts("h1") == ["parts: ablation"]
    assert "UAR of base: 75.00 ± 1.41. Beyond noise: without MI." in page.texts("p")[0]
    row = "| without MI | 70.50 ± 1.41 | 60.0 – 85.0 | -4.5 | -8.0 – -1.0 | 0.012 | 0.024 | yes |"
    assert row in twin and "| base | 75.00 ± 1.41 | 60.0 – 85.0 |" in twin
    assert "| base | 2 | 76.00 | 81.44 | 71.00 | base/seed-2 |" in twin  # 79 of 97 clips
    assert "| without MI | 2 | – | – | – | without-MI/seed-2 |" in twin  # its metrics.json is missing
    assert (
        "2 persons are few" in twin.split("## Variants")[0] and "without IEC: no texts" in twin.split("## Variants")[0]
    )
    moved = folder.rename(tmp_path / "moved")
    assert "| base | 2 | 76.00 |" in make([moved], tmp_path / "again")[1]


def test_an_ablation_beside_a_run_gives_a_one_line_error(tmp_path, capsys):
    folders = [write_ablation(tmp_path / "ablation"), write_run(tmp_path / "run")]
    assert "is an ablation; name only this folder" in error_of(["--mode", "report", *map(str, folders)], capsys)


def test_two_reports_in_the_same_second_have_a_folder_each(tmp_path, monkeypatch):
    runs = [str(write_run(tmp_path / name)) for name in "ab"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda *_: "20260101-120000")
    for _ in range(2):
        assert main(["--mode", "report", *runs]) == 0
    folders = sorted(path.parent.name for path in tmp_path.glob("outputs/*/report.html"))
    assert folders == ["report-20260101-120000", "report-20260101-120000-2"]


def test_runs_are_named_by_their_folders_if_names_are_equal():
    assert distinct_names([Path("/o/a/fold-1"), Path("/o/b/fold-1")]) == ["a/fold-1", "b/fold-1"]
    assert distinct_names([Path("/o/a"), Path("/o/b")]) == ["a", "b"] and distinct_names([Path("/o/a")]) == ["a"]


@pytest.mark.parametrize(
    ("file", "text", "part"),
    [
        ("metrics.json", '{"uar": "high"}', "uar: expected a finite number"),
        ("metrics.json", '{"runs": {"../other": {}}}', "not the name of a folder"),
        ("metrics.json", '{"uar": 1, "classes": ["a", "b"], "per_class": {"a": {}}}', "per_class"),
        ("metrics.json", '{"facts": {"data": {"train": {"classes": {}}}}}', "lacks 'clips'"),
        ("mistakes/mistakes.json", '{"mistakes": [{"clip": 5}]}', "mistakes, 0"),
        ("config.json", '{"run": {"exper_name": "\\ud800"}}', "half a surrogate pair"),
        ("config.json", '{"run": {"exper_name": 5}}', "exper_name: expected a text"),
    ],
)
@pytest.mark.parametrize("mode", ["report", "compare"])
def test_a_value_of_another_kind_is_named(tmp_path, capsys, mode, file, text, part):
    run, other = write_run(tmp_path / "run"), write_run(tmp_path / "other")
    (run / "mistakes").mkdir()
    (run / file).write_text(text)
    message = error_of(["--mode", mode, str(run), *([str(other)] if mode == "compare" else [])], capsys)
    assert str(run) in message and (part in message or mode == "compare")
