"""The feature cache: what it keeps, when it is read again, and that nothing half-made is left."""

import copy
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import main
from dataloader.annotation import read_annotation
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset, Views
from dataloader.features import FeatureDataset, cached_variants
from dataloader.paths import clip_key
from dataloader.transforms import Augmentation
from engine import features
from engine.config import make_config
from engine.session import Session
from models.clip_backbone import load_clip
from tests.support.tiny import write_set
from tests.support.tools import error_of
from utils.runlog import RunLog


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    write_set(root, clips=10, persons=4, frames=6)
    clips = read_annotation("annotation/train.txt", str(root), load_classes("RAER"))
    return clips, Views(segments=4, size=64, root=str(root)), load_clip("random").visual.eval()


def make(small, tmp_path, variants=2, amp=None, **changes):
    clips, views, encoder = small
    config = make_config({"cache_dir": str(tmp_path / "cache"), "workers": 0} | changes)
    log = RunLog(tmp_path)
    try:
        return features.cache_features(config, encoder, clips, views, variants, Session(torch.device("cpu"), amp, log))
    finally:
        log.close()


def test_mixed_precision_has_a_cache_of_its_own_which_is_what_the_encoder_gives_in_it(small, tmp_path):
    clips, views, encoder = small
    exact, short = make(small, tmp_path), make(small, tmp_path, amp=torch.bfloat16)
    assert len(list((tmp_path / "cache").iterdir())) == 4  # two streams each
    image = Image.open(clips[0].frame_path(0)).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = encoder(pixels)[0].float()
    row = short.starts[clips[0].id]
    np.testing.assert_allclose(short.features["face"][0, row], expected.numpy(), atol=2e-2)
    assert 0 < np.abs(np.float32(short.features["face"]) - np.float32(exact.features["face"])).max() < 0.2


def test_rows_are_the_encoder_on_every_frame_in_half_precision(small, tmp_path):
    clips, views, encoder = small
    cache = make(small, tmp_path)
    clip = clips[1]
    for index in (0, 5):
        image = Image.open(clip.frame_path(index)).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            plain, mirrored = encoder(pixels)[0], encoder(pixels.flip(-1))[0]
        row = cache.starts[clip.id] + index  # no boxes here: the face stream sees the whole frame
        np.testing.assert_allclose(cache.features["face"][0, row], plain.numpy(), atol=5e-3)
        np.testing.assert_allclose(cache.features["face"][1, row], mirrored.numpy(), atol=5e-3)


def test_evaluation_takes_the_plain_variant_of_the_same_frames_as_pixels_would(small, tmp_path):
    clips, views, encoder = small
    cache = make(small, tmp_path)
    stored = FeatureDataset(clips, cache.features, cache.starts, views)[0, 0, 2]
    pixels = ClipDataset(clips, views)[0, 0, 2]
    with torch.inference_mode():
        expected = encoder(pixels["context"].float() / 255)
    torch.testing.assert_close(stored["context_features"], expected, atol=5e-3, rtol=0)
    assert stored["id"] == pixels["id"] and stored["label"] == pixels["label"]


def test_shared_augmentation_takes_one_variant_for_both_streams(small, tmp_path):
    clips, views, _ = small
    cache = make(small, tmp_path)
    marked = {s: np.stack([np.full_like(a[0], v) for v in range(2)]) for s, a in cache.features.items()}
    for shared in (True, False):
        dataset = FeatureDataset(clips, marked, cache.starts, views, training=True, shared_augmentation=shared)
        drawn = [dataset[0, position, 0] for position in range(40)]
        same = [float(d["face_features"][0, 0]) == float(d["context_features"][0, 0]) for d in drawn]
        assert all(same) == shared
        assert len({float(d["face_features"][0, 0]) for d in drawn}) == 2  # both variants occur


def test_a_second_run_reads_the_cache_and_another_setting_makes_another(small, tmp_path, monkeypatch):
    make(small, tmp_path)
    folders = set((tmp_path / "cache").iterdir())
    monkeypatch.setattr(features, "_fill", lambda *_: pytest.fail("computed again"))
    make(small, tmp_path)
    monkeypatch.undo()
    make(small, tmp_path, normalize="clip")
    make(small, tmp_path, variants=3)
    clips, views, encoder = small
    other = Views(**{**vars(views), "body_boxes": {"images/x": (1, 2, 3, 4)}})
    make((clips, other, encoder), tmp_path)  # a box of no clip of ours changes nothing
    assert len(folders) == 2 and len(set((tmp_path / "cache").iterdir()) - folders) == 4


def test_one_stream_alone_reads_what_both_streams_made(small, tmp_path, monkeypatch):
    make(small, tmp_path)
    clips, views, encoder = small
    monkeypatch.setattr(features, "_fill", lambda *_: pytest.fail("computed again"))
    cache = make((clips, Views(**{**vars(views), "streams": "face"}), encoder), tmp_path)
    assert set(cache.features) == {"face"}


def test_a_changed_frame_or_encoder_makes_another_cache(small, tmp_path):
    clips, views, encoder = small
    names = [features.cache_name("w", clips, views, "face", cached_variants(1), "none")]
    names.append(features.cache_name("other weights", clips, views, "face", cached_variants(1), "none"))
    boxed = Views(**{**vars(views), "face_boxes": {clip_key(clips[0].id, views.root): {"00001.png": (1, 2, 30, 40)}}})
    names.append(features.cache_name("w", clips, boxed, "face", cached_variants(1), "none"))
    frame = clips[0].frame_path(0)
    stat = frame.stat()
    os.utime(frame, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    names.append(features.cache_name("w", clips, views, "face", cached_variants(1), "none"))
    assert len(set(names)) == 4
    moved = copy.deepcopy(encoder)
    moved.proj.data[0, 0] += 1
    assert features.hash_tensors(moved.state_dict()) != features.hash_tensors(encoder.state_dict())


def test_an_interrupted_run_leaves_no_half_cache(small, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(features, "_fill", stop)
    with pytest.raises(KeyboardInterrupt):
        make(small, tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_first_variants_are_plain_and_mirrored_and_none_repeats():
    assert cached_variants(2) == [Augmentation(0.0, False), Augmentation(0.0, True)]
    assert len(set(cached_variants(18))) == 18
    assert max(abs(v.angle) for v in cached_variants(18)) == 4.0


def test_variants_keep_to_the_angle_and_the_flip_of_the_run():
    plain, mirrored = Augmentation(0.0, False), Augmentation(0.0, True)
    assert cached_variants(6, 0.0, True) == [plain, mirrored]
    assert cached_variants(6, 0.0, False) == [plain]
    assert [(v.angle, v.flip) for v in cached_variants(18, 20.0, False)] == [
        (angle, False) for angle in (0, 15, -15, 5, -5, 20, -20, 10, -10)
    ]
    assert cached_variants(1, 20.0, True) == [plain]


def test_a_cache_is_named_by_the_variants_it_holds(small, tmp_path):
    make(small, tmp_path, variants=2)
    assert make(small, tmp_path, variants=6, max_angle=0.0).features["face"].shape[0] == 2
    assert len(set((tmp_path / "cache").iterdir())) == 2  # one a stream: the same two variants
    wide, still = (
        make(small, tmp_path, variants=6, **c).features["face"] for c in ({"max_angle": 9.0}, {"flip": False})
    )
    assert len(wide) == len(still) == 6 and len(set((tmp_path / "cache").iterdir())) == 6


def test_a_cache_holds_every_frame_whatever_frames_are_taken(small, tmp_path, monkeypatch):
    clips, views, encoder = small
    whole = make(small, tmp_path)
    monkeypatch.setattr(features, "_fill", lambda *_: pytest.fail("computed again"))
    windows = replace(views, sampling="window", downsample=2)
    cache = make((clips, windows, encoder), tmp_path)
    stored = FeatureDataset(clips, cache.features, cache.starts, windows)[0, 0, 2]
    rows = whole.starts[clips[2].id] + np.array([0, 2, 4, 2])  # of six frames every other, then back
    assert np.array_equal(stored["face_features"].numpy(), whole.features["face"][0, rows].astype(np.float32))


@pytest.mark.parametrize(("flag", "value", "off"), [("--random-crop", "0.5", "1"), ("--brightness", "0.2", "0")])
def test_what_a_cache_cannot_hold_is_refused_by_name(flag, value, off, tmp_path, capsys):
    recipe = tmp_path / "published.args"
    recipe.write_text(f"{flag} {value}\n")
    cached = ["--cache-features", "--lr-image-encoder", "0", "--dry-run"]
    for named in ([flag, value], [f"@{recipe}"]):
        error = error_of([*named, *cached], capsys)
        assert f"{flag} {value}" in error and f"pass {flag} {off}" in error
    assert main.main([f"@{recipe}", *cached, flag, off]) == 0


def test_a_trained_encoder_cannot_be_cached(capsys):
    assert main.main(["--cache-features", "--lr-image-encoder", "1e-6", "--dry-run"]) == 2
    assert "--lr-image-encoder 0" in capsys.readouterr().err
