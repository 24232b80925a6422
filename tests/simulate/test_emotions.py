"""Drawn emotions: what faces do, what captions and scores say of it, and whether it can be learned at all."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from simulate.actions import EMOTION_NAMES
from simulate.basic import draw_emotions, draw_temper
from simulate.change import find_apex, read_change
from simulate.clip_captions import describe_clip
from simulate.engagement import Levels, draw_learner, draw_levels
from simulate.identity import draw_identity
from simulate.layouts.chinese import BROWS, GAZE, MOUTH, describe_in_chinese
from simulate.moment import Moment
from simulate.portrait import crop_portraits
from simulate.scene import Scene
from simulate.symptoms import rate

FRAMES, PERSONS = 16, 60
NAMES = re.compile(
    r"ang(er|ry)|disgust|fear|afraid|scar(ed|y)|happ|joy|neutral|sad|surpris|contempt|anxi|nervous|help|disappoint|"
    r"emotion|feel|mood|upset|worr|amus|cheer|unhapp|gloom|proud|hostil|calm",
    re.I,
)


@pytest.fixture(scope="module")
def clips() -> dict[str, list[tuple[Moment, ...]]]:
    """One clip of every emotion by every person."""
    tempers = [draw_temper(np.random.default_rng((0, person))) for person in range(PERSONS)]
    return {
        name: [draw_emotions((name,), FRAMES, t, np.random.default_rng((1, e, p))) for p, t in enumerate(tempers)]
        for e, name in enumerate(EMOTION_NAMES)
    }


def latents(clip: tuple[Moment, ...]) -> np.ndarray:
    """(frames, latents): all that moves, sides taken together."""
    return np.abs([[v for v in vars(moment).values() if isinstance(v, float)] for moment in clip])


@pytest.mark.parametrize(
    "emotion, latent, sign",
    [
        ("happiness", "smile", 1),
        ("sadness", "gaze_y", 1),
        ("sadness", "pitch", 1),
        ("sadness", "smile", -1),
        ("anger", "brow_raise", -1),
        ("anger", "brow_furrow", 1),
        ("anger", "mouth_press", 1),
        ("surprise", "brow_raise", 1),
        ("surprise", "mouth_open", 1),
        ("surprise", "eyelid", 1),
        ("disgust", "smile", -1),
        ("disgust", "eyelid", -1),
        ("fear", "brow_raise", 1),
        ("fear", "brow_furrow", 1),
        ("fear", "eyelid", 1),
        ("contempt", "pitch", -1),
        ("anxiety", "brow_furrow", 1),
        ("helplessness", "gaze_y", -1),
        ("disappointment", "slump", 1),
        ("disappointment", "mouth_press", 1),
    ],
)
def test_faces_move_as_emotions_do(clips, emotion, latent, sign):
    """At the apex on average, against calm faces, in units of their spread."""
    shown, calm = (
        np.array([getattr(clip[find_apex(clip)], latent) for clip in clips[name]]) for name in (emotion, "neutral")
    )
    assert sign * (shown.mean() - calm.mean()) > 0.7 * calm.std()


def test_what_only_time_or_one_side_shows(clips):
    def jumps(name):
        return np.mean([np.abs(np.diff([m.gaze_x for m in clip])).mean() for clip in clips[name]])

    def tilt(name):
        return np.mean([max(abs(m.brow_tilt) for m in clip) for clip in clips[name]])

    assert jumps("anxiety") > 2 * max(jumps(name) for name in EMOTION_NAMES if name != "anxiety")
    assert tilt("contempt") > 2 * max(tilt(name) for name in EMOTION_NAMES if name != "contempt")


def test_expressions_come_and_go_and_some_are_weak(clips):
    smiles = np.array([[moment.smile for moment in clip] for clip in clips["happiness"]])
    assert (np.ptp(smiles, axis=1) > 0.3).mean() > 0.4  # a change to be seen in many clips, but not in all
    assert 0.02 < (smiles.max(1) < 0.35).mean() < 0.5 and (smiles.max(1) > 0.7).mean() > 0.2


def test_a_blend_shows_both():
    temper = draw_temper(np.random.default_rng(0))
    clips = [draw_emotions(("happiness", "surprise"), FRAMES, temper, np.random.default_rng(s)) for s in range(40)]
    assert np.mean([clip[8].smile for clip in clips]) > 0.3 and np.mean([clip[8].brow_raise for clip in clips]) > 0.3


@pytest.mark.parametrize("names", [EMOTION_NAMES[:7], EMOTION_NAMES])
def test_learnable_but_not_trivial(clips, names):
    """Even a probe that sees the latents themselves, on other persons, makes mistakes; and it is far above chance."""
    features = np.array([[*(x := latents(c)).mean(0), *x.std(0), *x[7:10].mean(0)] for n in names for c in clips[n]])
    signs = np.array([[v for v in vars(c[8]).values() if isinstance(v, float)] for n in names for c in clips[n]])
    labels, persons = np.repeat(np.arange(len(names)), PERSONS), np.tile(np.arange(PERSONS), len(names))
    features, known = np.hstack([features, signs]), persons < 40
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, C=0.3)).fit(features[known], labels[known])
    assert 0.7 < probe.score(features[~known], labels[~known]) < 0.98


@pytest.fixture(scope="module")
def told(clips) -> dict[str, list[str]]:
    scenes = [
        Scene(draw_identity(np.random.default_rng(p)), "Library", np.random.default_rng(p), 64, 48)
        for p in range(PERSONS)
    ]
    return {
        name: [
            describe_clip(read_change(scenes[p], c), np.random.default_rng((2, e, p)))
            for p, c in enumerate(clips[name])
        ]
        for e, name in enumerate(EMOTION_NAMES)
    }


def test_captions_are_short_varied_and_name_no_emotion(told):
    for name, captions in told.items():
        assert len(set(captions)) >= 0.97 * len(captions), name
        for caption in captions:
            assert not NAMES.search(caption), caption
            assert 4 <= len(caption.split()) <= 45 and caption.isascii() and caption.endswith(".")


def test_captions_tell_what_happens(told):
    def share(name, words):
        return np.mean([bool(re.search(words, caption)) for caption in told[name]])

    for name, words, rest in [
        ("happiness", "smile|laugh|corners of the mouth (pulled far|turned) up", "anger"),
        ("sadness", "looking down|lowered gaze|downwards|bowed|bent down|cast down", "surprise"),
        ("surprise", "raised|lifted", "anger"),
        ("anger", "furrow|drawn together|pulled down and together|wrinkled", "happiness"),
        ("anxiety", "darting|restless", "neutral"),
    ]:
        assert share(name, words) > 0.45 and share(name, words) > share(rest, words) + 0.3, name
    assert share("fear", "[Ff]irst|starts with|goes from") > 0.3


def test_chinese_sentences_fit_gbk():
    for words in (MOUTH, BROWS, GAZE):
        assert all(phrase.encode("gbk") for phrase in words.values())
    sentence = describe_in_chinese({"mouth": "smiling", "brows": "raised", "gaze": "ahead", "hands": "resting"})
    assert sentence == "画面中的人眉毛抬起，眼睛看着前方，嘴角上扬。"


def mean_scores(moments: list[Moment]) -> np.ndarray:
    ratings = [rate(tuple(moments), np.random.default_rng(seed)) for seed in range(500)]
    return np.mean([(rating.expressivity, rating.withdrawal) for rating in ratings], axis=0)


def test_symptom_scores():
    """A smile that grows by 1 moves by 0.4 of 1.1; a gaze and a body down by 1 each lower by 0.8 + 0.5."""
    still, smiling = [Moment()] * 8, [Moment(smile=step / 7) for step in range(8)]
    assert mean_scores(smiling) == pytest.approx([10 * (1 - np.exp(-0.4 / 1.1)), 0.14], abs=0.06)
    lowered = [Moment(gaze_y=1.0, slump=1.0)] * 8
    assert mean_scores(lowered)[1] == pytest.approx(10 * (1 - np.exp(-1.3)), abs=0.06)
    assert mean_scores(still) == pytest.approx([0.35 / np.sqrt(2 * np.pi)] * 2, abs=0.06)  # noise cut off at zero
    talking = [Moment(mouth_open=0.6 * (step % 2)) for step in range(8)]
    assert mean_scores(talking)[0] > mean_scores([Moment(mouth_open=0.3)] * 8)[0] > mean_scores(still)[0]


def test_engagement_and_what_opposes_it():
    drawn = [
        (level, draw_levels(level, np.random.default_rng((level, seed)))) for level in range(4) for seed in range(200)
    ]
    assert all(level == levels.engagement and 0 <= min(vars(levels).values()) for level, levels in drawn)
    boredom = [np.mean([levels.boredom for level, levels in drawn if level == wanted]) for wanted in range(4)]
    assert boredom == sorted(boredom, reverse=True) and boredom[0] - boredom[3] > 1.5
    assert {max(vars(levels).values()) for _, levels in drawn} <= set(range(4))

    def average(latent: str, levels: Levels) -> float:
        temper = draw_temper(np.random.default_rng(0))
        shown = [draw_learner(levels, FRAMES, temper, np.random.default_rng(seed)) for seed in range(60)]
        return float(np.mean([abs(getattr(moment, latent)) for clip in shown for moment in clip]))

    calm = Levels(boredom=0, engagement=3, confusion=0, frustration=0)
    assert average("yaw", replace(calm, engagement=0)) > 1.2 * average("yaw", calm)
    assert average("eyelid", replace(calm, boredom=3)) < 0.8 * average("eyelid", calm)
    assert average("brow_furrow", replace(calm, confusion=3)) > 2 * average("brow_furrow", calm)
    assert average("mouth_press", replace(calm, frustration=3)) > 2 * average("mouth_press", calm)


def test_portraits_are_squares_around_the_face():
    """A head of 80 x 100 has a face of 80 x 90: 90 of 112.5 pixels are 102 of 128, in the middle."""
    pictures, heads = [], []
    for left in (100, 104, 108):
        picture = np.zeros((300, 400, 3), np.uint8)
        picture[60:150, left : left + 80] = 255
        pictures.append(picture)
        heads.append((float(left), 50.0, left + 80.0, 150.0))
    middle = crop_portraits(pictures, heads)[1]
    assert middle.shape == (128, 128, 3)
    rows, columns = np.flatnonzero(middle[:, 64, 0] > 127), np.flatnonzero(middle[64, :, 0] > 127)
    assert len(rows) == pytest.approx(102.4, abs=1.5) and len(columns) == pytest.approx(91, abs=1.5)
    assert rows.mean() == pytest.approx(63.5, abs=1) and columns.mean() == pytest.approx(63.5, abs=1)


def test_hands_stay_mostly_off_the_face(clips):
    hands = Counter(
        clip[8].left_hand != "desk" or clip[8].right_hand != "desk" for all in clips.values() for clip in all
    )
    assert 0.05 < hands[True] / hands.total() < 0.4
