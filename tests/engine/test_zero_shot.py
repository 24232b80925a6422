"""Zero-shot: a caption model on classes of data sets, of the user, and combinations, without training on them."""

import json

import numpy as np
import pytest
import torch

from tests.support import reference
from tests.support.drawn import ELEVEN, LEVELS, READERS, SEVEN, classes_in_columns, flags, truth
from tests.support.tools import FAST, RANDOM_CLIP, error_of, run_ok

CAER = "anger disgust fear happiness neutral sadness surprise".split()
CLASSES = {"dfew": SEVEN, "daisee": LEVELS, "caer_s": CAER}  # the last has one frame, for a model of two
TEXTS = ["A face with lifted brows and an open mouth.", "A person who looks down, brows drawn together."]


def zero_shot(captioned) -> list[str]:
    return ["--mode", "zero-shot", "--eval-checkpoint", str(captioned.folder / "best.pt")]


def scored(captioned, words, folder):
    return run_ok([*zero_shot(captioned), *words], folder)


def data(reader, root):
    """The recipe of a set and its root, which a user names in addition to the checkpoint."""
    return [f"@recipes/data/{reader}.args", "--root-dir", str(root), *READERS[reader][1], *FAST[4:6], "--device", "cpu"]


def logits_of(run):
    names = classes_in_columns(run.folder / "predictions.csv")
    return names, np.array([[float(row[f"logit_{name}"]) for name in names] for row in run.predictions])


@pytest.fixture(scope="module")
def texts(state):
    """The class texts of the caption model as unit vectors (C, D), by the published arithmetic."""
    tokens, s = state["tokens"].long()[:, 0], reference.in_double(state)
    return reference.text_features(s, "text_encoder.", s["token_embedding"][tokens], tokens.argmax(dim=-1).tolist())


@pytest.fixture(scope="module")
def state(captioned):
    return torch.load(captioned.folder / "best.pt", weights_only=True)["model"]


@pytest.fixture(scope="module")
def compound(captioned, drawn, tmp_path_factory):
    return scored(captioned, data("mafw_compound", drawn("mafw")), tmp_path_factory.mktemp("compound") / "run")


@pytest.mark.parametrize("reader", CLASSES)
def test_captions_score_the_classes_of_any_set(reader, captioned, drawn, tmp_path):
    """tests/test_data_sets.py scores every set without training; MAFW and its combinations follow below."""
    root = drawn(READERS[reader][0])
    run = scored(captioned, data(reader, root), tmp_path / "run")
    assert run.labels == truth(reader, root)
    assert logits_of(run)[0] == CLASSES[reader] and "zero-shot" in run.metrics["selected_on"]


def test_the_same_weights_are_scored_on_every_fold(captioned, drawn, tmp_path):
    run = scored(captioned, [*data("dfew", drawn("dfew")), "--fold", "all"], tmp_path / "run")
    assert len(run.predictions) == 40 == len(run.labels)
    assert list(run.metrics["runs"]) == [f"fold-{fold}" for fold in range(1, 6)]


def test_the_same_list_and_the_same_texts_give_the_same_scores(captioned, drawn, tmp_path):
    """The list of the training run; DFEW's clips by the texts of DFEW and of FERV39k, whose classes are the same."""
    run = scored(captioned, data("mafw_captions", drawn("mafw")), tmp_path / "run")
    assert logits_of(run)[1].tolist() == logits_of(captioned)[1].tolist()
    words = data("dfew", drawn("dfew"))
    dfew, ferv = (
        scored(captioned, [*words, *more], tmp_path / name).folder
        for name, more in (("dfew", []), ("ferv", ["--dataset", "FERV39k"]))
    )
    assert (dfew / "predictions.csv").read_bytes() == (ferv / "predictions.csv").read_bytes()


def test_classes_of_the_users_own_in_any_order(captioned, drawn, tmp_path):
    clips = list(truth("dfew", drawn("dfew")))
    (tmp_path / "list.txt").write_text("".join(f"{clip} 3 {n % 2}\n" for n, clip in enumerate(clips)))
    words = ["--root-dir", str(drawn("dfew")), "--test-annotation", str(tmp_path / "list.txt"), *FAST[4:6]]
    logits = []
    for order in (1, -1):
        names = ["up", "down"][::order]
        entries = [{"name": n, "class_descriptor": t} for n, t in zip(names, TEXTS[::order], strict=True)]
        (tmp_path / "classes.json").write_text(json.dumps({"label_base": 0, "classes": entries}))
        run = scored(captioned, [*words, "--class-texts", str(tmp_path / "classes.json")], tmp_path / names[0])
        assert [row["label"] for row in run.predictions] == [names[n % 2] for n in range(len(clips))]
        assert logits_of(run)[0] == names
        logits.append(logits_of(run)[1][:, ::order])
    assert np.allclose(*logits, atol=1e-5)


def test_logits_are_cosines_times_the_learnt_scale(captioned, state, texts):
    """There is a unit vector whose cosines with the unit texts equal the logits divided by the scale."""
    logits = torch.tensor(logits_of(captioned)[1]) / state["logit_scale"].double().exp()
    assert logits.abs().max() <= 1 and len(texts) == 11
    shortest = torch.linalg.pinv(texts) @ logits.T  # (of all videos with these cosines)
    assert shortest.norm(dim=0).max() <= 1 + 1e-3


def test_compound_classes_are_the_single_classes_and_the_combinations_in_the_lists(compound, drawn):
    folder = drawn("mafw") / "Train_Test_Set/compound/no_caption_new/set_1"
    lines = [line for part in ("train", "test") for line in (folder / f"{part}.txt").read_text().splitlines()]
    names = logits_of(compound)[0]
    listed = {line.split()[1] for line in lines}
    assert names[:11] == ELEVEN and set(names[11:]) == {name for name in listed if "_" in name}
    assert compound.labels == truth("mafw_compound", drawn("mafw"))


def test_a_compound_class_is_the_mean_of_its_parts(compound, texts):
    """With texts a and b of length one, the cosine with their mean is (cos a + cos b) / |a + b|."""
    names, logits = logits_of(compound)
    for name in names[11:]:
        parts = name.split("_")
        length = texts[[ELEVEN.index(part) for part in parts]].sum(dim=0).norm().item()
        expected = logits[:, [names.index(part) for part in parts]].sum(axis=1) / length
        assert np.allclose(logits[:, names.index(name)], expected, rtol=1e-3, atol=1e-3), name


def test_single_classes_have_the_same_scores_beside_combinations(compound, captioned, drawn, tmp_path):
    single = scored(captioned, [*data("mafw", drawn("mafw")), "--fold", "1"], tmp_path / "run")
    rows = {row["clip"]: row for row in compound.predictions}
    assert len(single.predictions) == sum("_" not in row["label"] for row in rows.values())
    for row, logits in zip(single.predictions, logits_of(single)[1], strict=True):
        expected = [float(rows[row["clip"]][f"logit_{name}"]) for name in ELEVEN]
        assert logits == pytest.approx(expected, abs=1e-4)


def test_models_without_zero_shot_are_refused(captioned, drawn, tmp_path, capsys):
    """More frames than the model has positions for; a classifier, whose prompts are learnt for its own classes."""
    words = [*zero_shot(captioned), *data("dfew", drawn("dfew")), "--num-segments", "3"]
    assert "--num-segments: 3 frames, but" in error_of(words, capsys)
    run = run_ok(["--model", "dfer-clip", *flags("dfew", drawn("dfew"))], tmp_path / "run")
    words = [*zero_shot(run), *data("afew", drawn("afew")), "--output-dir", str(tmp_path / "zero")]
    message = error_of(words, capsys)
    assert "best.pt" in message and "--mode eval" in message and "caption" in message


def test_evaluation_with_other_classes_is_refused(captioned, drawn, tmp_path, capsys):
    words = ["--mode", "eval", *zero_shot(captioned)[2:], *RANDOM_CLIP]
    run = run_ok([*words, *data("dfew", drawn("dfew"))], tmp_path / "run")  # whose classes are all in MAFW
    assert run.labels == truth("dfew", drawn("dfew")) and logits_of(run)[0] == ELEVEN
    message = error_of([*words, *data("daisee", drawn("daisee")), "--output-dir", str(tmp_path / "other")], capsys)
    assert "best.pt" in message and "class" in message


@pytest.mark.parametrize("model", ["sequence", "frame-expr"])
def test_plain_clip_is_scored_on_a_list(model, tmp_path, capsys):
    words = ["--mode", "zero-shot", "--model", model, "--root-dir", str(tmp_path), *RANDOM_CLIP]
    message = error_of(words, capsys)
    assert f"--model {model}: " in message and "leave --model out" in message
    assert ("--test-annotation" in message) == (model == "frame-expr")
