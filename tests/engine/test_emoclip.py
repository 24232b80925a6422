"""EmoCLIP through the command line: captions, class texts, classes left out, trained parts, processes, resuming."""

import json
import math
import re
import signal

import numpy as np
import pytest
import torch

from main import main
from tests.support.drawn import ELEVEN, FOLDERS, classes_in_columns, flags, stop_at_step, truth
from tests.support.forked import run_pair
from tests.support.resuming import assert_same_end, call, resume, send
from tests.support.tools import Run, error_of, run_ok
from utils.archive import read_archive

EMOCLIP = "@recipes/emoclip.args"
STILL = "--lr 0 --max-angle 0 --no-flip".split()
LEARN = "--optimizer AdamW --lr 1e-3".split()
MAFW_LISTS = "Train_Test_Set/single/with_caption_new/set_4/{}.txt"
FERV_CAPTIONS = ["--captions", "annotation/train_descriptions.json"]


@pytest.fixture(scope="module")
def mafw(drawn):
    return [EMOCLIP, *flags("mafw_captions", drawn("mafw"))]


@pytest.fixture(scope="module")
def ferv(drawn):
    return [EMOCLIP, *flags("ferv39k", drawn("ferv39k"))]


@pytest.fixture(scope="module")
def still(mafw, tmp_path_factory):
    """A run that trains nothing: the weights from which every run of this seed starts."""
    return run_ok([*mafw, *STILL], tmp_path_factory.mktemp("still") / "run")


def changed(run, start):
    """Names of the tensors that differ from those of ``start``, rounded as frozen ones are stored."""
    states = [torch.load(r.folder / "best.pt", weights_only=True)["model"] for r in (run, start)]
    after, before = ({k: v.half() if v.is_floating_point() else v for k, v in state.items()} for state in states)
    assert before.keys() == after.keys()
    return {name for name in after if not torch.equal(after[name], before[name])}


def first_loss(run):
    return run.history[0]["train/loss"]


def captions_in(root):
    """{video: (class, English caption)} of the train list, read by hand."""
    lines = (root / MAFW_LISTS.format("train")).read_bytes().decode("gbk").split("\r\n")
    rows = [line.split("\t") for line in lines if line]
    return {video: (name, caption) for video, name, _, caption in rows}


def test_captions_are_learnt_and_scored_on_the_texts_of_the_classes(captioned, drawn):
    assert captioned.status == 0, captioned.err
    assert captioned.history[-1]["train/loss"] < 0.6 * first_loss(captioned)
    assert captioned.metrics["selected_on"] == "last"
    assert captioned.labels == truth("mafw_captions", drawn("mafw"))
    assert classes_in_columns(captioned.folder / "predictions.csv") == ELEVEN


# -- captions and texts ---------------------------------------------------------------------------------------------


def test_captions_come_from_json_or_from_class_texts(ferv, drawn, tmp_path):
    run = run_ok([*ferv, *LEARN, *FERV_CAPTIONS], tmp_path / "json")
    assert run.labels == truth("ferv39k", drawn("ferv39k")) and first_loss(run) > 0
    run = run_ok(["@recipes/emoclip_supervised.args", *flags("dfew", drawn("dfew"))], tmp_path / "classes")
    assert json.loads((run.folder / "config.json").read_text())["loss"]["caption_source"] == "class"
    assert run.labels == truth("dfew", drawn("dfew"))


def test_a_set_without_captions_and_captions_of_other_clips_give_a_one_line_error(ferv, drawn, tmp_path, capsys):
    folder = ["--output-dir", str(tmp_path / "run")]
    message = error_of([EMOCLIP, *flags("dfew", drawn("dfew")), *folder], capsys)
    assert "caption" in message and "--captions" in message and "--caption-source class" in message
    assert "captions" in error_of([*ferv, "--captions", "annotation/test_descriptions.json", *folder], capsys)


def test_equal_captions_are_positives_unless_the_option_makes_them_negatives(ferv, drawn, tmp_path):
    rows = (drawn("ferv39k") / "annotation/train_image.txt").read_text().splitlines()
    keys = ["_".join(row.split(" ")[0].split("/")[1:]) for row in rows]

    def loss(name, sentence, *more):
        captions = tmp_path / f"{name}.json"
        captions.write_text(json.dumps({key: sentence.format(n) for n, key in enumerate(keys)}))
        return first_loss(run_ok([*ferv, *STILL, "--captions", str(captions), *more], tmp_path / name))

    different, equal, apart = "A face of the kind number {}.", "A face.", "--no-merge-positives"
    assert loss("different", different) == loss("different apart", different, apart)
    attracted, repelled = loss("equal", equal), loss("equal apart", equal, apart)
    assert attracted != repelled
    # One sentence for all: no clip can distinguish the n texts of a batch, which costs ln n, and one text cannot
    # distinguish the clips, which on average costs no less.
    batches = [8, 8, 5]
    assert len(rows) == sum(batches)
    assert repelled > sum(n * math.log(n) for n in batches) / sum(batches) - 1e-4


def test_training_uses_the_captions_of_the_list(mafw, still, drawn, tmp_path):
    """The same sentences from a JSON and a list without captions make the same run; others make another."""
    captions = {video.removesuffix(".mp4"): text for video, (_, text) in captions_in(drawn("mafw")).items()}
    reordered = dict(zip(captions, reversed(captions.values()), strict=True))
    plain = ["--train-annotation", MAFW_LISTS.format("train").replace("with_", "no_")]
    losses = []
    for name, sentences in (("same", captions), ("reordered", reordered)):
        (tmp_path / f"{name}.json").write_text(json.dumps(sentences))
        words = [*mafw, *STILL, *plain, "--captions", str(tmp_path / f"{name}.json")]
        losses.append(first_loss(run_ok(words, tmp_path / name)))
    assert losses[0] == first_loss(still) != losses[1]


# -- what learns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tower", [None, "text", "visual"])
def test_heads_are_trained_and_towers_only_with_fine_tuning(tower, mafw, still, tmp_path):
    flags = ["--lr", "0.1", f"--finetune-{tower}"] if tower else []
    parts = {None: set(), "text": {"text_encoder"}, "visual": {"image_encoder"}}[tower]
    names = changed(run_ok([*mafw, *LEARN, *flags], tmp_path / "run"), still)
    assert {name.split(".")[0] for name in names} == parts | {"temporal", "logit_scale"}


@pytest.mark.parametrize(("number", "blocks"), [(1, "1"), (2, "01")])
def test_only_the_last_blocks_of_the_text_tower_learn(number, blocks, mafw, still, tmp_path):
    words = [*mafw, *LEARN, "--lr", "0.1", "--finetune-text", "--text-blocks", number]
    names = {name for name in changed(run_ok(words, tmp_path / "run"), still) if name.startswith("text_encoder.")}
    expected = [f"text_encoder.transformer.resblocks.{block}." for block in blocks]
    assert {name[: len(expected[0])] for name in names} == set(expected)


def test_a_text_tower_with_fewer_blocks_is_refused(mafw, tmp_path, capsys):
    words = [*mafw, "--finetune-text", "--text-blocks", 3, "--output-dir", tmp_path / "run"]
    assert error_of(words, capsys) == "error: --text-blocks 3: the text tower has 2 blocks"


@pytest.mark.parametrize("source", ["clip", "class"])
def test_cached_features_leave_the_texts_as_they_are(source, mafw, tmp_path):
    """Only pictures are cached: rounded to half precision, they give the loss of pixels."""
    words = [*mafw, *STILL, "--caption-source", source, *"--sampling whole --downsample 1 --num-segments 3".split()]
    cache = ["--cache-features", "--cache-variants", "1", "--cache-dir", str(tmp_path / "cache")]
    plain, cached = run_ok(words, tmp_path / "plain"), run_ok([*words, *cache], tmp_path / "cached")
    assert first_loss(cached) == pytest.approx(first_loss(plain), rel=2e-3)
    assert not changed(cached, plain)
    assert (plain.folder / "predictions.csv").read_bytes() == (cached.folder / "predictions.csv").read_bytes()


# -- classes left out -----------------------------------------------------------------------------------------------


def train_counts(run):
    """{class: clips} of the line on the train list."""
    line = next(line for line in run.out.splitlines() if line.startswith("train "))
    return line, {name: int(count) for name, count in re.findall(r"([a-z_]+) (\d+)", line.partition(":")[2])}


def test_a_class_left_out_is_tested_alone_among_all(mafw, drawn, tmp_path):
    run = run_ok([*mafw, "--leave-out", "Fear"], tmp_path / "run")
    expected = truth("mafw_captions", drawn("mafw"))
    assert run.labels == {clip: name for clip, name in expected.items() if name == "fear"}
    assert classes_in_columns(run.folder / "predictions.csv") == ELEVEN
    train = [name for name, _ in captions_in(drawn("mafw")).values() if name != "fear"]
    line, counts = train_counts(run)
    assert counts == {name: train.count(name) for name in ELEVEN} and f"{len(train)} clips" in line


def test_a_class_is_left_out_with_its_combinations(drawn, tmp_path):
    run = run_ok([EMOCLIP, *flags("mafw_compound", drawn("mafw")), "--leave-out", "anger"], tmp_path / "run")
    _, counts = train_counts(run)
    assert "anger_surprise" in counts and set(run.labels.values()) == {"anger"}
    assert all((count == 0) == ("anger" in name.split("_")) for name, count in counts.items()), counts


def test_every_class_left_out_in_turn(ferv, drawn, tmp_path):
    run = run_ok([*ferv, "--caption-source", "class", *LEARN, "--leave-out", "all"], tmp_path / "run")
    expected = truth("ferv39k", drawn("ferv39k"))
    assert run.labels == expected
    for name in FOLDERS.values():
        single = Run(0, run.folder / f"without-{name}", "", "")
        assert set(single.labels) == {clip for clip, label in expected.items() if label == name}
        correct = [row["predicted"] == name for row in single.predictions]
        recall = pytest.approx(100 * sum(correct) / len(correct))
        assert run.metrics["per_class"][name]["recall"] == recall == single.metrics["war"]
        assert run.metrics["runs"][f"without-{name}"]["uar"] == recall


def test_classes_that_do_not_exist_cannot_be_left_out(mafw, drawn, tmp_path, capsys):
    folder = ["--output-dir", str(tmp_path / "run")]
    message = error_of([*mafw, "--leave-out", "helplesness", *folder], capsys)
    assert "--leave-out helplesness" in message and "did you mean helplessness" in message
    rows = [row for row in truth("mafw", drawn("mafw"), 4).items() if row[1] != "contempt"]
    (tmp_path / "test.txt").write_text("".join(f"{clip} {name}\n" for clip, name in rows))
    words = [*mafw, "--test-annotation", str(tmp_path / "test.txt"), "--leave-out", "all"]
    message = error_of([*words, *folder], capsys)
    assert "contempt" in message and "test.txt" in message and not (tmp_path / "run").exists()  # before it starts
    (tmp_path / "val.txt").write_text("".join(f"{clip} {name}\n" for clip, name in rows if name == "fear"))
    message = error_of([*mafw, "--val-annotation", str(tmp_path / "val.txt"), "--leave-out", "fear", *folder], capsys)
    assert "--leave-out fear: the validation clips are all of this class" in message


# -- resuming and processes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["", "--finetune-text --text-blocks 1 --finetune-visual --caption-source class"])
def test_a_run_resumed_inside_an_epoch_ends_with_the_same_bits(more, mafw, tmp_path):
    words = [*mafw, *LEARN, *more.split(), "--epochs", "3", "--milestones", "2", "--accumulate", "2"]
    run_ok(words, tmp_path / "alone")
    with pytest.MonkeyPatch.context() as patch:
        stop_at_step(patch, 6 + 3, send(signal.SIGTERM))  # 48 clips: 6 steps an epoch
        assert call(*words, "--output-dir", tmp_path / "run").status == 143
    assert not (tmp_path / "run/metrics.json").exists()
    resume(tmp_path / "run")
    assert_same_end(tmp_path / "run", tmp_path / "alone")


def test_two_processes_end_with_the_weights_and_logits_of_one(ferv, tmp_path):
    """Every text of the batch is compared with every video. The last batch is odd: one process has one clip more."""
    words = [*ferv, *FERV_CAPTIONS, *"--lr 1e-2 --lr-image-encoder 1e-2 --lr-text-encoder 1e-3 --epochs 2".split()]
    words += ["--milestones", "1", "--deterministic"]
    single, pair = run_ok(words, tmp_path / "alone").folder, tmp_path / "pair"
    assert "2 processes" in run_pair(main, [*words, "--output-dir", pair], tmp_path / "screen")[0]
    for name in ("best.pt", "last.pt"):
        first, second = (read_archive(folder / name)["model"] for folder in (single, pair))
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert np.abs(value.double().numpy() - second[key].double().numpy()).max() <= 1e-6, (name, key)
    files = [folder / "predictions.csv" for folder in (single, pair)]
    rows = [np.genfromtxt(file, delimiter=",", skip_header=1, dtype=str) for file in files]
    assert (rows[0][:, :3] == rows[1][:, :3]).all()
    logits = [table[:, 4 : 4 + len(classes_in_columns(files[0]))].astype(float) for table in rows]
    assert np.abs(logits[0] - logits[1]).max() < 1e-3
