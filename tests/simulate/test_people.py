"""Simulated people: movements of their faces, whether classes can be learnt, captions and scores."""

import re
from collections import Counter

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from simulate import describe_face, describe_scene, draw_still
from simulate.captions import PHRASES, describe_clip, describe_in_chinese, find_apex, read_change
from simulate.emotions import EMOTION_NAMES, Temper, sample_emotions, sample_learner, sample_levels
from simulate.identity import Identity
from simulate.layouts import rate_symptoms
from simulate.moment import Moment
from simulate.scene import Scene, crop_portraits
from simulate.stills import sample_moment

FRAMES, PERSONS = 16, 60
EMOTION_WORDS = re.compile(
    r"ang(er|ry)|disgust|fear|afraid|scar(ed|y)|happ|joy|neutral|\bsad|surpris|contempt|anxi|nervous|help|disappoint|"
    r"emotion|feel|mood|upset|worr|amus|cheer|unhapp|gloom|proud|hostil|calm|enjoy|confus|fatigue|tired|distract|bored|"
    r"sleepy|puzzl|weary",
    re.I,
)


@pytest.fixture(scope="module")
def clips() -> dict[str, list[tuple[Moment, ...]]]:
    """One clip of every emotion by every person."""
    tempers = [Temper(np.random.default_rng((0, person))) for person in range(PERSONS)]
    return {
        name: [sample_emotions((name,), FRAMES, t, np.random.default_rng((1, e, p))) for p, t in enumerate(tempers)]
        for e, name in enumerate(EMOTION_NAMES)
    }


@pytest.mark.parametrize(
    "emotion, higher, lower",
    [
        ("happiness", "smile", ""),
        ("sadness", "gaze_y pitch", "smile"),
        ("anger", "brow_furrow mouth_press", "brow_raise"),
        ("surprise", "brow_raise mouth_open eyelid", ""),
        ("disgust", "", "smile eyelid"),
        ("fear", "brow_raise brow_furrow eyelid", ""),
        ("contempt", "", "pitch"),
        ("anxiety", "brow_furrow", ""),
        ("helplessness", "", "gaze_y"),
        ("disappointment", "slump mouth_press", ""),
    ],
)
def test_faces_move_according_to_the_emotion(clips, emotion, higher, lower):
    """At the apex on average, against calm faces, in units of their spread."""
    for sign, latents in ((1, higher), (-1, lower)):
        for latent in latents.split():
            values, calm = (
                np.array([getattr(clip[find_apex(clip)], latent) for clip in clips[name]])
                for name in (emotion, "neutral")
            )
            assert sign * (values.mean() - calm.mean()) > 0.7 * calm.std(), latent


def test_some_differences_are_visible_only_over_time_or_on_one_side(clips):
    jumps = {
        name: np.mean([np.abs(np.diff([m.gaze_x for m in clip])).mean() for clip in part])
        for name, part in clips.items()
    }
    tilt = {name: np.mean([max(abs(m.brow_tilt) for m in clip) for clip in part]) for name, part in clips.items()}
    assert jumps.pop("anxiety") > 2 * max(jumps.values())
    assert tilt.pop("contempt") > 2 * max(tilt.values())


def test_expressions_change_over_time_and_some_are_weak(clips):
    smiles = np.array([[moment.smile for moment in clip] for clip in clips["happiness"]])
    assert (np.ptp(smiles, axis=1) > 0.3).mean() > 0.4  # a change that is visible in many clips, but not in all
    assert 0.02 < (smiles.max(1) < 0.35).mean() < 0.5 and (smiles.max(1) > 0.7).mean() > 0.2


def test_a_blend_shows_both_emotions():
    temper = Temper(np.random.default_rng(0))
    clips = [sample_emotions(("happiness", "surprise"), FRAMES, temper, np.random.default_rng(s)) for s in range(40)]
    assert np.mean([clip[8].smile for clip in clips]) > 0.3 and np.mean([clip[8].brow_raise for clip in clips]) > 0.3


@pytest.mark.parametrize("names", [EMOTION_NAMES[:7], EMOTION_NAMES])
def test_the_classes_are_learnable_but_not_trivial(clips, names):
    """A probe on the hidden parameters makes mistakes on new persons, but is far above chance."""

    def features(clip: tuple[Moment, ...]) -> np.ndarray:
        signed = np.array([[v for v in vars(moment).values() if isinstance(v, float)] for moment in clip])
        size = np.abs(signed)
        return np.concatenate([size.mean(0), size.std(0), size[7:10].mean(0), signed[8]])

    inputs = np.array([features(clip) for name in names for clip in clips[name]])
    labels, persons = np.repeat(np.arange(len(names)), PERSONS), np.tile(np.arange(PERSONS), len(names))
    train, probe = persons < 40, make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, C=0.3))
    assert 0.7 < probe.fit(inputs[train], labels[train]).score(inputs[~train], labels[~train]) < 0.98


@pytest.fixture(scope="module")
def captions(clips) -> dict[str, list[str]]:
    generators = [np.random.default_rng(person) for person in range(PERSONS)]
    scenes = [Scene(Identity(np.random.default_rng(p)), "Library", rng, 64, 48) for p, rng in enumerate(generators)]
    return {
        name: [
            describe_clip(*read_change(scenes[p], clip), np.random.default_rng((2, e, p)))
            for p, clip in enumerate(clips[name])
        ]
        for e, name in enumerate(EMOTION_NAMES)
    }


def test_captions_of_clips_are_short_varied_and_name_no_emotion(captions):
    for name, sentences in captions.items():
        assert len(set(sentences)) >= 0.97 * len(sentences), name
        for sentence in sentences:
            assert not EMOTION_WORDS.search(sentence), sentence
            assert 4 <= len(sentence.split()) <= 45 and sentence.isascii() and sentence.endswith(".")


def test_captions_of_clips_describe_the_behaviour(captions):
    def share(name, words):
        return np.mean([bool(re.search(words, caption)) for caption in captions[name]])

    for name, words, opposite in [
        ("happiness", "smile|laugh|corners of the mouth (pulled far|turned) up", "anger"),
        ("sadness", "looking down|lowered gaze|downwards|bowed|bent down|cast down", "surprise"),
        ("surprise", "raised|lifted", "anger"),
        ("anger", "furrow|drawn together|pulled down and together|wrinkled", "happiness"),
        ("anxiety", "darting|restless", "neutral"),
    ]:
        assert share(name, words) > 0.45 and share(name, words) > share(opposite, words) + 0.3, name
    assert share("fear", "[Ff]irst|starts with|goes from") > 0.3


def test_chinese_sentences_fit_gbk():
    assert all(phrase.encode("gbk") for words in PHRASES["chinese"].values() for phrase in words.values())
    sentence = describe_in_chinese({"mouth": "smiling", "brows": "raised", "gaze": "ahead", "hands": "resting"})
    assert sentence == "画面中的人眉毛抬起，眼睛看着前方，嘴角上扬。"


def mean_scores(moments: list[Moment]) -> np.ndarray:
    """Mean expressivity and withdrawal over many ratings."""
    return np.mean([rate_symptoms(tuple(moments), np.random.default_rng(seed)) for seed in range(500)], axis=0)


def test_symptom_scores():
    """A smile that grows by 1 changes the score by 0.4 of 1.1; gaze and body down by 1 each lower it by 0.8 + 0.5."""
    still, smiling = [Moment()] * 8, [Moment(smile=step / 7) for step in range(8)]
    assert mean_scores(smiling) == pytest.approx([10 * (1 - np.exp(-0.4 / 1.1)), 0.14], abs=0.06)
    lowered = [Moment(gaze_y=1.0, slump=1.0)] * 8
    assert mean_scores(lowered)[1] == pytest.approx(10 * (1 - np.exp(-1.3)), abs=0.06)
    assert mean_scores(still) == pytest.approx([0.35 / np.sqrt(2 * np.pi)] * 2, abs=0.06)  # noise cut off at zero
    talking = [Moment(mouth_open=0.6 * (step % 2)) for step in range(8)]
    assert mean_scores(talking)[0] > mean_scores([Moment(mouth_open=0.3)] * 8)[0] > mean_scores(still)[0]


def test_engagement_and_what_opposes_it():
    samples = [
        [sample_levels(level, np.random.default_rng((level, seed))) for seed in range(200)] for level in range(4)
    ]
    assert all(levels["engagement"] == level for level, part in enumerate(samples) for levels in part)
    assert {value for part in samples for levels in part for value in levels.values()} == set(range(4))
    boredom = [np.mean([levels["boredom"] for levels in part]) for part in samples]
    assert boredom == sorted(boredom, reverse=True) and boredom[0] - boredom[3] > 1.5

    def average(latent: str, levels: dict[str, int]) -> float:
        temper = Temper(np.random.default_rng(0))
        learners = [sample_learner(levels, FRAMES, temper, np.random.default_rng(seed)) for seed in range(60)]
        return float(np.mean([abs(getattr(moment, latent)) for clip in learners for moment in clip]))

    calm = {"boredom": 0, "engagement": 3, "confusion": 0, "frustration": 0}
    assert average("yaw", calm | {"engagement": 0}) > 1.2 * average("yaw", calm)
    assert average("eyelid", calm | {"boredom": 3}) < 0.8 * average("eyelid", calm)
    assert average("brow_furrow", calm | {"confusion": 3}) > 2 * average("brow_furrow", calm)
    assert average("mouth_press", calm | {"frustration": 3}) > 2 * average("mouth_press", calm)


def test_portraits_are_squares_around_the_face():
    """A head of 80 x 100 has a face of 80 x 90: 90 of 112.5 pixels are 102 of 128, in the middle."""
    pictures, heads = [], []
    for x in (100, 104, 108):
        picture = np.zeros((300, 400, 3), np.uint8)
        picture[60:150, x : x + 80] = 255
        pictures.append(picture)
        heads.append((float(x), 50.0, x + 80.0, 150.0))
    middle = crop_portraits(pictures, heads)[1]
    assert middle.shape == (128, 128, 3)
    rows, columns = np.flatnonzero(middle[:, 64, 0] > 127), np.flatnonzero(middle[64, :, 0] > 127)
    assert len(rows) == pytest.approx(102.4, abs=1.5) and len(columns) == pytest.approx(91, abs=1.5)
    assert rows.mean() == pytest.approx(63.5, abs=1) and columns.mean() == pytest.approx(63.5, abs=1)


def test_hands_mostly_do_not_cover_the_face(clips):
    hands = Counter(
        clip[8].left_hand != "desk" or clip[8].right_hand != "desk" for part in clips.values() for clip in part
    )
    assert 0.05 < hands[True] / hands.total() < 0.4


def test_a_still_is_a_picture_with_boxes_and_attributes():
    still = draw_still(np.random.default_rng(5))
    assert still.image.shape == (240, 320, 3) and still.image.dtype == np.uint8
    assert still.body_box[3] > still.face_box[3] > still.face_box[1] >= 0
    assert {"mouth", "brows", "eyes", "gaze", "posture", "hands", "object", "place"} <= set(still.attributes)
    assert np.array_equal(still.image, draw_still(np.random.default_rng(5)).image)


def test_captions_of_stills_vary_stay_short_and_name_no_emotion():
    rng = np.random.default_rng(0)
    stills = [draw_still(rng, 64, 48).attributes for _ in range(60)]
    for describe in (describe_face, describe_scene):
        sentences = [describe(attributes, rng) for attributes in stills for _ in range(10)]
        assert len(set(sentences)) > 500
        for sentence in sentences:
            assert not EMOTION_WORDS.search(sentence), sentence
            assert 4 <= len(sentence.split()) <= 40 and sentence.endswith(".") and sentence[0].isupper()
    phone = stills[0] | {"object": "phone", "target": "phone"}
    assert "phone" in " ".join(describe_scene(phone, rng) for _ in range(9))
    assert len({sample_moment(rng).hand("left") for _ in range(300)}) >= 9


def test_attributes_agree_with_the_picture():
    stills = [draw_still(np.random.default_rng(seed), 64, 48).attributes for seed in range(150)]
    for name, fewest in {"mouth": 6, "brows": 4, "eyes": 4, "gaze": 4, "head": 5, "posture": 4, "hands": 9}.items():
        assert len({attributes[name] for attributes in stills}) >= fewest, name
    for attributes in stills:
        assert attributes["target"] != "phone" or attributes["object"] == "phone"
