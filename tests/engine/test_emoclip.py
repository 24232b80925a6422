"""EmoCLIP through the command line: captions, class texts, classes left out, what learns, and resuming."""

import json
import math
import re
import signal

import pytest
import torch

from tests.support.drawn import ELEVEN, FOLDERS, classes_in_columns, flags, stop_at_step, truth
from tests.support.resuming import assert_same_end, call, resume, send
from tests.support.tools import Run, error_of, run_main

EMOCLIP = "@recipes/emoclip.args"
STILL = "--lr 0 --max-angle 0 --no-flip".split()
LEARN = "--optimizer AdamW --lr 1e-3".split()
MAFW_LISTS = "Train_Test_Set/single/with_caption_new/set_4/{}.txt"


@pytest.fixture(scope="module")
def mafw(drawn):
    return [EMOCLIP, *flags("mafw_captions", drawn("mafw"))]


@pytest.fixture(scope="module")
def ferv(drawn):
    return [EMOCLIP, *flags("ferv39k", drawn("ferv39k"))]


@pytest.fixture(scope="module")
def still(mafw, tmp_path_factory):
    """Nothing moves: the weights that every run of this seed starts from."""
    return ran([*mafw, *STILL], tmp_path_factory.mktemp("still") / "run")


def ran(words, folder) -> Run:
    run = run_main(words, folder)
    assert run.status == 0, run.err
    return run


def model_of(run):
    """Rounded as what does not learn is stored."""
    state = torch.load(run.folder / "best.pt", weights_only=True)["model"]
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


def moved(run, start):
    """Names of the tensors that differ from those of ``start``."""
    before, after = model_of(start), model_of(run)
    assert before.keys() == after.keys()
    return {name for name in after if not torch.equal(after[name], before[name])}


def first_loss(run):
    return run.history[0]["train/loss"]


def told_in(root):
    """{video: (class, English caption)} of the train list, read by hand."""
    lines = (root / MAFW_LISTS.format("train")).read_bytes().decode("gbk").split("\r\n")
    rows = [line.split("\t") for line in lines if line]
    return {video: (name, caption) for video, name, _, caption in rows}


def test_captions_are_learnt(captioned):
    assert captioned.status == 0, captioned.err
    losses = [line["train/loss"] for line in captioned.history]
    assert losses[-1] < 0.6 * losses[0]
    assert captioned.metrics["selected_on"] == "last"


def test_it_is_scored_on_the_texts_of_the_classes(captioned, drawn):
    assert {row["clip"]: row["label"] for row in captioned.predictions} == truth("mafw_captions", drawn("mafw"))
    assert classes_in_columns(captioned.folder / "predictions.csv") == ELEVEN


def test_a_set_without_captions_is_one_line_with_the_ways_out(drawn, tmp_path, capsys):
    words = [EMOCLIP, *flags("dfew", drawn("dfew")), "--output-dir", str(tmp_path / "run")]
    message = error_of(words, capsys)
    assert "caption" in message and "--captions" in message and "--caption-source class" in message


def test_ferv39k_takes_its_captions_from_json(ferv, drawn, tmp_path):
    run = ran([*ferv, *LEARN, "--captions", "annotation/train_descriptions.json"], tmp_path / "run")
    assert {row["clip"]: row["label"] for row in run.predictions} == truth("ferv39k", drawn("ferv39k"))
    assert first_loss(run) > 0


def test_a_captions_file_of_other_clips_is_one_line(ferv, tmp_path, capsys):
    words = [*ferv, "--captions", "annotation/test_descriptions.json", "--output-dir", str(tmp_path / "run")]
    assert "captions" in error_of(words, capsys)


def test_class_texts_stand_in_for_captions(drawn, tmp_path):
    words = ["@recipes/emoclip_supervised.args", *flags("dfew", drawn("dfew"))]
    run = ran(words, tmp_path / "run")
    assert json.loads((run.folder / "config.json").read_text())["loss"]["caption_source"] == "class"
    assert {row["clip"]: row["label"] for row in run.predictions} == truth("dfew", drawn("dfew"))


def loss_with(ferv, drawn, folder, sentence, *more):
    """Of the first epoch, where clip number n of train is told by ``sentence(n)``."""
    rows = (drawn("ferv39k") / "annotation/train_image.txt").read_text().split("\n")
    keys = ["_".join(row.split(" ")[0].split("/")[1:]) for row in rows if row]
    folder.mkdir()
    (folder / "captions.json").write_text(json.dumps({key: sentence(n) for n, key in enumerate(keys)}))
    words = [*ferv, *STILL, "--captions", str(folder / "captions.json"), *more]
    return first_loss(ran(words, folder / "run"))


def test_equal_captions_attract_unless_they_are_to_repel(ferv, drawn, tmp_path):
    def loss(name, sentence, *more):
        return loss_with(ferv, drawn, tmp_path / name, sentence, *more)

    def own(n):
        return f"A face of the kind number {n}."

    def same(_):
        return "A face."

    assert loss("own", own) == loss("own apart", own, "--no-merge-positives")
    together, apart = loss("same", same), loss("same apart", same, "--no-merge-positives")
    assert together != apart
    # one sentence for all: no clip can tell the n texts of a batch apart, which costs ln n, and one text cannot tell
    # all clips apart, which on average costs no less
    batches = [8, 8, 5]
    assert (drawn("ferv39k") / "annotation/train_image.txt").read_text().count("\n") == sum(batches)
    assert apart > sum(n * math.log(n) for n in batches) / sum(batches) - 1e-4


def test_frozen_towers_stay_and_the_heads_move(mafw, still, tmp_path):
    names = moved(ran([*mafw, *LEARN], tmp_path / "run"), still)
    assert any(name.startswith("temporal.") for name in names) and "logit_scale" in names
    assert all(name.startswith("temporal.") or name == "logit_scale" for name in names)


@pytest.mark.parametrize(("flag", "tower"), [("text", "text_encoder."), ("visual", "image_encoder.")])
def test_a_tower_moves_only_where_it_is_finetuned(flag, tower, mafw, still, tmp_path):
    names = moved(ran([*mafw, *LEARN, "--lr", "0.1", f"--finetune-{flag}"], tmp_path / "run"), still)
    other = {"text_encoder.": "image_encoder.", "image_encoder.": "text_encoder."}[tower]
    assert any(name.startswith(tower) for name in names) and not any(name.startswith(other) for name in names)
    assert "tokens" not in names


@pytest.mark.parametrize("source", ["clip", "class"])
def test_cached_features_leave_the_texts_as_they_are(source, mafw, tmp_path):
    """The cache is of pictures: rounded to half precision, they give the loss that pixels give."""
    words = [
        *mafw,
        *STILL,
        "--caption-source",
        source,
        "--sampling",
        "whole",
        "--downsample",
        "1",
        "--num-segments",
        "3",
    ]
    cached = ["--cache-features", "--cache-variants", "1", "--cache-dir", str(tmp_path / "cache")]
    plain, kept = ran(words, tmp_path / "plain"), ran([*words, *cached], tmp_path / "kept")
    assert first_loss(kept) == pytest.approx(first_loss(plain), rel=2e-3)
    assert not moved(kept, plain)
    assert (plain.folder / "predictions.csv").read_bytes() == (kept.folder / "predictions.csv").read_bytes()


def test_the_captions_of_the_list_are_what_is_learnt(mafw, drawn, tmp_path):
    """The same sentences from a JSON and a list without captions make the same run; others make another."""
    root = drawn("mafw")
    told = {video.removesuffix(".mp4"): text for video, (_, text) in told_in(root).items()}
    plain = ["--train-annotation", MAFW_LISTS.format("train").replace("with_", "no_")]
    losses = []
    for name, sentences in (("same", told), ("other", dict(zip(told, reversed(told.values()), strict=True)))):
        (tmp_path / f"{name}.json").write_text(json.dumps(sentences))
        words = [*mafw, *STILL, *plain, "--captions", str(tmp_path / f"{name}.json")]
        losses.append(first_loss(ran(words, tmp_path / name)))
    listed = first_loss(ran([*mafw, *STILL], tmp_path / "listed"))
    assert losses[0] == listed and losses[1] != listed


def test_a_class_left_out_is_tested_alone_among_all(mafw, drawn, tmp_path):
    run = ran([*mafw, "--leave-out", "Fear"], tmp_path / "run")
    expected = {clip: name for clip, name in truth("mafw_captions", drawn("mafw")).items() if name == "fear"}
    assert {row["clip"]: row["label"] for row in run.predictions} == expected
    assert classes_in_columns(run.folder / "predictions.csv") == ELEVEN
    listed = next(line for line in (run.folder / "log.txt").read_text().splitlines() if line.startswith("train "))
    train = [name for name, _ in told_in(drawn("mafw")).values()]
    for name in ELEVEN:
        assert re.search(rf"\b{name} (\d+)", listed)[1] == str(0 if name == "fear" else train.count(name))
    assert f"{len(train) - train.count('fear')} clips" in listed


def test_a_class_is_left_out_with_its_combinations(drawn, tmp_path):
    run = ran([EMOCLIP, *flags("mafw_compound", drawn("mafw")), "--leave-out", "anger"], tmp_path / "run")
    listed = next(line for line in run.out.splitlines() if line.startswith("train "))
    counts = dict(re.findall(r"([a-z_]+) (\d+)", listed.partition(":")[2]))
    assert "anger_surprise" in counts
    assert all((number == "0") == ("anger" in name.split("_")) for name, number in counts.items()), listed
    assert {row["label"] for row in run.predictions} == {"anger"}


def test_every_class_left_out_in_turn(ferv, drawn, tmp_path):
    run = ran([*ferv, "--caption-source", "class", *LEARN, "--leave-out", "all"], tmp_path / "run")
    expected = truth("ferv39k", drawn("ferv39k"))
    assert {row["clip"]: row["label"] for row in run.predictions} == expected
    for name in FOLDERS.values():
        own = Run(0, run.folder / f"without-{name}", "", "")
        assert {row["clip"] for row in own.predictions} == {clip for clip, label in expected.items() if label == name}
        right = [row["predicted"] == name for row in own.predictions]
        recall = pytest.approx(100 * sum(right) / len(right))
        assert run.metrics["per_class"][name]["recall"] == recall == own.metrics["war"]
        assert run.metrics["runs"][f"without-{name}"]["uar"] == recall


def test_an_unknown_class_is_named_with_the_one_that_is_meant(mafw, tmp_path, capsys):
    message = error_of([*mafw, "--leave-out", "helplesness", "--output-dir", str(tmp_path / "run")], capsys)
    assert "--leave-out helplesness" in message and "did you mean helplessness" in message


def test_leaving_out_in_turn_looks_for_every_class_before_it_starts(mafw, drawn, tmp_path, capsys):
    rows = [row for row in truth("mafw", drawn("mafw"), 4).items() if row[1] != "contempt"]
    (tmp_path / "test.txt").write_text("".join(f"{clip} {name}\n" for clip, name in rows))
    words = [*mafw, "--test-annotation", str(tmp_path / "test.txt"), "--leave-out", "all"]
    message = error_of([*words, "--output-dir", str(tmp_path / "run")], capsys)
    assert "contempt" in message and "test.txt" in message and not (tmp_path / "run").exists()


@pytest.mark.parametrize("more", [(), ("--finetune-text", "--finetune-visual", "--caption-source", "class")])
def test_resumed_inside_an_epoch_it_ends_in_the_same_bits(more, mafw, tmp_path):
    words = [*mafw, *LEARN, *more, "--epochs", "3", "--milestones", "2", "--accumulate", "2"]
    alone = call(*words, "--output-dir", tmp_path / "alone")
    assert alone.status == 0, alone.err
    with pytest.MonkeyPatch.context() as patch:
        stop_at_step(patch, 6 + 3, send(signal.SIGTERM))  # 48 clips: 6 steps an epoch
        assert call(*words, "--output-dir", tmp_path / "run").status == 143
    assert not (tmp_path / "run/metrics.json").exists()
    resume(tmp_path / "run")
    assert_same_end(tmp_path / "run", tmp_path / "alone")
