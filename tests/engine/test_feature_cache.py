"""Both feature caches: what they store, when frames are read again, and that no partial files are left."""

import json
import os
import resource
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dataloader.annotation import read_annotation
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset, FeatureDataset, Views
from dataloader.transforms import AugmentationLimits, cached_variants, to_square
from engine import feature_cache, video_features
from engine.config import make_config
from engine.device import map_on_cores
from engine.feature_cache import cache_features, cache_name
from engine.session import Session
from models.clip_backbone import load_clip
from tests.support import affect, tiny
from tests.support.tools import error_of, run_main
from utils.checkpoint import hash_tensors
from utils.errors import UserError
from utils.files import acquire_lock
from utils.runlog import RunLog

CPU = torch.device("cpu")


def nothing_is_encoded(monkeypatch):
    monkeypatch.setattr(feature_cache, "encode_pictures", lambda *_: pytest.fail("computed again"))


# --cache-features


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    tiny.write_set(root, clips=10, persons=4, frames=6)
    clips = read_annotation("annotation/train.txt", str(root), load_classes("RAER"))
    return clips, Views(segments=4, size=64, root=str(root)), load_clip("random").visual.eval()


def make(small, tmp_path, variants=2, amp=None, views=None, **changes):
    clips, plain_views, encoder = small
    config = make_config({"cache_dir": str(tmp_path / "cache"), "workers": 0} | changes)
    log = RunLog(tmp_path)
    session = Session(torch.device("cpu"), amp, log)
    try:
        return cache_features(config, encoder, clips, views or plain_views, variants, session)
    finally:
        log.close()


def folders(tmp_path):
    return set((tmp_path / "cache").iterdir())


def pixels_of(clip, index):
    """No boxes here: the face stream sees the whole frame."""
    image = Image.open(clip.frame_path(index)).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def test_rows_are_the_encoder_on_every_frame_in_half_precision(small, tmp_path):
    (_, clip, *_), _, encoder = small
    cache = make(small, tmp_path)
    for index in (0, 5):
        pixels, row = pixels_of(clip, index), cache.starts[clip.id] + index
        for variant, picture in enumerate((pixels, pixels.flip(-1))):
            with torch.inference_mode():
                expected = encoder(picture)[0].numpy()
            np.testing.assert_allclose(cache.features["face"][variant, row], expected, atol=5e-3)


@pytest.fixture
def three_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)


def test_on_a_cpu_each_thread_encodes_its_own_clips(small, tmp_path, three_threads):
    meeting, counts = threading.Barrier(3), []

    def encode(item):
        counts.append(torch.get_num_threads())
        if item < 3:
            meeting.wait(600)  # raises an error unless three items are encoded at the same time
        return item**2

    assert list(map_on_cores(encode, iter(range(9)), CPU)) == [item**2 for item in range(9)]
    assert counts == [1] * 9 and torch.get_num_threads() == 3
    together = make(small, tmp_path / "three threads").features
    torch.set_num_threads(1)
    alone = make(small, tmp_path / "one thread").features
    for stream, features in together.items():
        np.testing.assert_allclose(features, alone[stream], rtol=2e-3, atol=1e-4)  # float16: one rounding step


@pytest.mark.parametrize(("threads", "at_once"), [(3, [1] * 3), (16, [2] * 8), (25, [3] * 8)])
def test_at_most_eight_items_are_computed_at_once_and_share_all_cores(threads, at_once, three_threads):
    torch.set_num_threads(threads)
    meeting = threading.Barrier(len(at_once))

    def count(item):
        meeting.wait(600)  # raises an error unless this many items are computed at the same time
        return torch.get_num_threads()

    assert list(map_on_cores(count, range(len(at_once)), CPU)) == at_once


def test_an_error_while_encoding_leaves_torch_its_threads(three_threads):
    with pytest.raises(ZeroDivisionError):
        list(map_on_cores(lambda item: 1 / item, iter([2, 1, 0, 3]), CPU))
    assert torch.get_num_threads() == 3


def test_mixed_precision_has_its_own_cache_with_the_features_of_that_precision(small, tmp_path):
    (clip, *_), _, encoder = small
    exact, short = make(small, tmp_path), make(small, tmp_path, amp=torch.bfloat16)
    assert len(folders(tmp_path)) == 4  # two streams each
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = encoder(pixels_of(clip, 0))[0].float().numpy()
    np.testing.assert_allclose(short.features["face"][0, short.starts[clip.id]], expected, atol=2e-2)
    assert 0 < np.abs(np.float32(short.features["face"]) - np.float32(exact.features["face"])).max() < 0.2


def test_evaluation_reads_the_plain_variant_of_the_frames_that_pixels_would_use(small, tmp_path):
    clips, views, encoder = small
    cache = make(small, tmp_path)
    item = FeatureDataset(clips, cache.features, cache.starts, views)[0, 0, 2]
    pixels = ClipDataset(clips, views)[0, 0, 2]
    with torch.inference_mode():
        expected = encoder(pixels["context"].float() / 255)
    torch.testing.assert_close(item["context_features"], expected, atol=5e-3, rtol=0)
    assert item["id"] == pixels["id"] and item["label"] == pixels["label"]


@pytest.mark.parametrize("shared", [True, False])
def test_shared_augmentation_uses_one_variant_for_both_streams(small, tmp_path, shared):
    clips, views, _ = small
    cache = make(small, tmp_path)
    marked = {s: np.stack([np.full_like(a[0], v) for v in range(2)]) for s, a in cache.features.items()}
    dataset = FeatureDataset(clips, marked, cache.starts, views, training=True, shared_augmentation=shared)
    items = [dataset[0, position, 0] for position in range(40)]
    variants = [(float(i["face_features"][0, 0]), float(i["context_features"][0, 0])) for i in items]
    assert all(face == context for face, context in variants) == shared
    assert len({face for face, _ in variants}) == 2  # both variants occur


def test_a_second_run_reads_the_cache_for_any_choice_of_frames_and_streams(small, tmp_path, monkeypatch):
    clips, views, _ = small
    whole = make(small, tmp_path)
    nothing_is_encoded(monkeypatch)
    make(small, tmp_path)
    assert set(make(small, tmp_path, views=replace(views, streams="face")).features) == {"face"}
    boxes = {"images/x": (1, 2, 3, 4)}  # a box of a clip that is not in the lists changes nothing
    make(small, tmp_path, views=replace(views, body_boxes=boxes))
    windows = replace(views, sampling="window", downsample=2)
    cache = make(small, tmp_path, views=windows)
    item = FeatureDataset(clips, cache.features, cache.starts, windows)[0, 0, 2]
    rows = whole.starts[clips[2].id] + np.array([0, 2, 4, 2])  # of six frames every other, then back
    assert np.array_equal(item["face_features"].numpy(), whole.features["face"][0, rows].astype(np.float32))
    assert len(folders(tmp_path)) == 2


def test_another_setting_makes_another_cache_named_after_its_variants(small, tmp_path):
    make(small, tmp_path)
    first = folders(tmp_path)
    assert make(small, tmp_path, variants=6, max_angle=0.0).features["face"].shape[0] == 2
    assert folders(tmp_path) == first and len(first) == 2  # one a stream: the same two variants
    settings = (
        {"normalize": "clip"},
        {"variants": 3},
        {"variants": 6, "max_angle": 9.0},
        {"variants": 6, "flip": False},
    )
    lengths = [len(make(small, tmp_path, **changes).features["face"]) for changes in settings]
    assert lengths == [2, 3, 6, 6] and len(folders(tmp_path)) == 10


def test_a_changed_frame_box_or_encoder_makes_another_cache(small):
    clips, views, encoder = small
    boxed = replace(views, face_boxes={clips[0].key: {"00001.png": (1, 2, 30, 40)}})
    names = [
        cache_name(weights, clips, v, "face", cached_variants(1), "none")
        for weights, v in (("w", views), ("other weights", views), ("w", boxed))
    ]
    frame = clips[0].frame_path(0)
    stat = frame.stat()
    os.utime(frame, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    names.append(cache_name("w", clips, views, "face", cached_variants(1), "none"))
    assert len(set(names)) == 4
    moved = encoder.state_dict() | {"proj": encoder.proj.data + 1}
    assert hash_tensors(moved) != hash_tensors(encoder.state_dict())


def test_sampled_variants_belong_to_the_id_from_which_they_are_sampled(small):
    clips, views, _ = small
    renamed = [replace(clip, id=f"other/{clip.id}") for clip in clips]
    for limits, count in ((AugmentationLimits(), 1), (AugmentationLimits(hue=0.2), 2)):
        variants = cached_variants(2, limits)
        names = {cache_name("w", c, views, "face", variants, "none", limits=limits) for c in (clips, renamed)}
        assert len(names) == count


def test_an_interrupted_run_leaves_no_partial_cache(small, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(feature_cache, "encode_pictures", stop)
    with pytest.raises(KeyboardInterrupt):
        make(small, tmp_path)
    assert not folders(tmp_path)


def copy_of(small, tmp_path):
    """A copy of the small set."""
    clips, views, encoder = small
    root = shutil.copytree(views.root, tmp_path / "copy")
    clips = [replace(clip, folder=root / clip.folder.relative_to(views.root)) for clip in clips]
    return clips, replace(views, root=str(root)), encoder


def test_frames_replaced_with_size_and_time_kept_are_encoded_again(small, tmp_path, capsys):
    clips, views, encoder = copied = copy_of(small, tmp_path)
    make(copied, tmp_path)
    first = folders(tmp_path)
    assert "changed since" not in capsys.readouterr().out
    Image.new("RGB", (160, 120), (250, 10, 10)).save(tmp_path / "red.png")
    frame = clips[0].frame_path(2)
    stat, red = frame.stat(), (tmp_path / "red.png").read_bytes()
    frame.write_bytes(red + bytes(stat.st_size - len(red)))  # a PNG ends before its zeros
    os.utime(frame, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    cache = make(copied, tmp_path)
    assert "files of its frames have changed since; these features are computed again" in capsys.readouterr().out
    with torch.inference_mode():
        expected = encoder(pixels_of(clips[0], 2))[0].numpy()
    np.testing.assert_allclose(cache.features["face"][0, cache.starts[clips[0].id] + 2], expected, atol=5e-3)
    assert folders(tmp_path) == first  # instead of the old ones


def damage(name, change):
    return lambda folder: change(folder / name)


def flip_byte(path):
    data = bytearray(path.read_bytes())
    data[-1000] ^= 4
    path.write_bytes(data)


def pipe_instead(path):
    path.unlink()
    os.mkfifo(path)


DAMAGES = {
    "truncated": damage("features.npy", lambda path: os.truncate(path, path.stat().st_size - 100)),
    "longer": damage("features.npy", lambda path: path.write_bytes(path.read_bytes() + b"x")),
    "empty": damage("features.npy", lambda path: path.write_bytes(b"")),
    "missing": damage("features.npy", lambda path: path.unlink()),
    "zeros": damage("features.npy", lambda path: np.save(path, np.zeros_like(np.load(path)))),
    "one byte": damage("features.npy", flip_byte),
    "another shape": damage("features.npy", lambda path: np.save(path, np.load(path)[:, :-1])),
    "a broken header": damage(
        "features.npy", lambda path: path.write_bytes(path.read_bytes().replace(b"shape", b"\xffha"))
    ),
    "a pipe": damage("features.npy", pipe_instead),
    "an index cut": damage("index.json", lambda path: os.truncate(path, 20)),
    "no index": damage("index.json", lambda path: path.unlink()),
    "another index": damage("index.json", lambda path: path.write_text("[]")),
    "a file": lambda folder: (shutil.rmtree(folder), folder.write_bytes(b"")),
    "a broken link": lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_cache_is_computed_again(small, tmp_path, name, capsys):
    whole = make(small, tmp_path).features["face"].copy()
    (folder,) = (folder for folder in folders(tmp_path) if folder.name.startswith("face-"))
    DAMAGES[name](folder)
    capsys.readouterr()
    again = make(small, tmp_path)
    warning = capsys.readouterr().out
    assert warning.count("warning: ") == 1 and "these features are computed again" in warning and str(folder) in warning
    assert np.array_equal(again.features["face"], whole) and len(folders(tmp_path)) == 2
    make(small, tmp_path)
    assert "made again" not in capsys.readouterr().out


def test_a_cache_of_an_older_version_is_read_as_before(small, tmp_path, monkeypatch):
    expected = make(small, tmp_path).features["context"].copy()
    for folder in folders(tmp_path):
        index = json.loads((folder / "index.json").read_text())
        del index["content"], index["checksum"]
        (folder / "index.json").write_text(json.dumps(index))
    nothing_is_encoded(monkeypatch)
    assert np.array_equal(make(small, tmp_path).features["context"], expected)


def test_a_full_disk_gives_a_one_line_error_before_and_while_writing(small, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(feature_cache.shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(UserError, match="^--cache-dir .*the features need 0 MB, the disk has 0 MB left; "):
            make(small, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(UserError, match="^--cache-dir .*: file too large; name another folder"):
            make(small, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not folders(tmp_path)


def test_files_of_killed_runs_are_removed_and_files_being_written_are_kept(small, tmp_path):
    left, locked, foreign = (tmp_path / "cache" / f".features-{name}.part" for name in ("left", "locked", "foreign"))
    for folder in (left, locked, foreign):
        (folder / "face").mkdir(parents=True)
        (folder / "face" / "features.npy").touch()
    (left / ".in-use").touch()
    with acquire_lock(locked / ".in-use", "locked"):
        make(small, tmp_path)
    assert not left.exists() and locked.exists() and foreign.exists()


def test_a_cache_without_variants_refuses_augmentation_that_it_cannot_hold(small_flags, tmp_path, capsys):
    words = [*small_flags, "--cache-features", "--cache-variants", "1", "--lr-image-encoder", "0"]
    error = error_of([*words, "--hue", "0.5", "--output-dir", str(tmp_path / "run")], capsys)
    assert "--hue 0.5: --cache-variants 1 stores" in error and "--cache-variants 2 or more" in error


def test_a_variant_of_the_cache_has_the_augmentation_that_is_sampled_for_its_clip(small, tmp_path):
    clips, views, encoder = small
    chance = {"max_angle": 0.0, "random_crop": 0.3, "hue": 0.3, "contrast": 0.5, "random_erasing": 1.0}
    cache = make(small, tmp_path, variants=3, **chance)
    for clip in clips[:2]:
        row = cache.starts[clip.id] + 2
        frame = np.asarray(Image.open(clip.frame_path(2)).convert("RGB"))
        samples = cached_variants(3, AugmentationLimits(**chance), clip.id)
        squares = [to_square(frame, sample, 64) for sample in samples]
        with torch.inference_mode():
            expected = encoder(torch.from_numpy(np.stack(squares)).float() / 255).numpy()
        np.testing.assert_allclose(cache.features["face"][:, row], expected, atol=5e-3)
        with torch.inference_mode():
            plain = encoder(pixels_of(clip, 2))[0].numpy()
        np.testing.assert_allclose(cache.features["face"][0, row], plain, atol=5e-3)  # what evaluation reads
        assert np.abs(expected[1:] - expected[0]).max(axis=1).min() > 0.02


def test_the_name_of_a_cache_counts_the_augmentation(small, tmp_path):
    make(small, tmp_path)
    for change in ({"hue": 0.1}, {"hue": 0.2}, {"random_crop": 0.5}, {"random_erasing": 0.2}):
        before = folders(tmp_path)
        make(small, tmp_path, **change)
        assert len(folders(tmp_path) - before) == 2, change
        make(small, tmp_path, variants=1, **change)  # of evaluation clips: one plain cache whatever the augmentation


def test_mixup_has_the_same_partners_with_cached_features_as_with_pixels(small_flags, tmp_path):
    words = "--lr-image-encoder 0 --max-angle 0 --no-flip --epochs 2 --milestones --lr 0.01 --no-mistake-frames"
    words = [*small_flags, *words.split(), "--cache-dir", str(tmp_path / "cache")]
    losses = {}
    for mixup in ("0", "0.5"):
        for cached in ((), ("--cache-features", "--cache-variants", "1")):
            run = run_main([*words, "--mixup", mixup, *cached], tmp_path / f"{mixup}{len(cached)}").ok()
            losses[mixup, bool(cached)] = [row["train/loss_classification"] for row in run.history]
    assert losses["0.5", True] == pytest.approx(losses["0.5", False], abs=2e-3)  # stored as float16
    assert losses["0.5", True] != pytest.approx(losses["0", True], abs=1e-2)


# --mode cache


LENGTHS = affect.VIDEOS["train"] | affect.VIDEOS["validation"]
RANDOM = ["--mode", "cache", "--clip-path", "random", "--device", "cpu", "--workers", "0"]


def write_videos(root):
    affect.write_set(root)
    affect.write_frames(root)
    return root


def flags_of(root, folder):
    return [*RANDOM, "--root-dir", str(root), "--cache-dir", str(folder)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("cache") / "set")


@pytest.fixture(scope="module")
def cached(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cached")
    run = run_main(flags_of(root, folder / "features"), folder / "run")
    assert run.status == 0, run.err
    return folder / "features"


def test_every_label_line_has_a_row_and_missing_frames_repeat_the_features_before(cached, root):
    for id, frames in LENGTHS.items():
        rows = np.load(cached / f"{id}.npy")
        assert rows.shape == (frames, 64) and rows.dtype == np.float16
        assert rows.any() == (id != "c")
    assert set(json.loads((cached / "index.json").read_text())["videos"]) == set(LENGTHS)
    rows, present = np.load(cached / "a.npy"), {int(path.stem) for path in (root / "cropped_aligned/a").iterdir()}
    gaps = [n for n in range(2, LENGTHS["a"] + 1) if n not in present]
    assert gaps and all(np.array_equal(rows[n - 1], rows[n - 2]) for n in gaps)


def test_only_missing_videos_are_read(cached, root, monkeypatch, tmp_path):
    (cached / "d.npy").unlink()
    ids, encode_video = [], video_features.encode_video
    monkeypatch.setattr(
        video_features, "encode_video", lambda video, *rest: ids.append(video.id) or encode_video(video, *rest)
    )
    again = run_main(flags_of(root, cached), tmp_path / "run")
    assert again.status == 0 and ids == ["d"] and (cached / "d.npy").exists()


@pytest.mark.parametrize("change", ["--seed 7", "--normalize none"])
def test_another_encoder_needs_another_folder(cached, root, capsys, change):
    assert "another encoder" in error_of([*flags_of(root, cached), *change.split()], capsys)


def test_models_train_on_the_cached_features(cached, root, tmp_path):
    flags = "--model sequence --task va --window 20 --stride 20 --batch-size 4 --transformer-layers 1 --device cpu"
    flags += f" --tcn-channels 8 --epochs 1 --root-dir {root} --features {cached}"
    run = run_main(flags.split(), tmp_path / "run")
    assert run.status == 0, run.err
    assert "64 features a frame" in run.out and "without any frame file" in run.out


def test_an_unreadable_frame_is_an_error_or_is_replaced_by_a_neighbour(tmp_path, capsys):
    root = write_videos(tmp_path / "set")
    first = sorted((root / "cropped_aligned/e").iterdir())[0]
    first.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    flags = flags_of(root, tmp_path / "f")
    assert f"{first}: cannot be read" in error_of([*flags, "--output-dir", str(tmp_path / "o")], capsys)
    run = run_main([*flags, "--on-bad-frame", "skip"], tmp_path / "p")
    assert run.status == 0 and "1 unreadable frames" in run.out
    rows, number = np.load(tmp_path / "f/e.npy"), int(first.stem)
    assert rows.any() and all(np.array_equal(row, rows[number]) for row in rows[:number])  # there is no frame before it


def test_the_set_must_be_named(capsys):
    assert "--mode cache needs --root-dir" in error_of(RANDOM, capsys)


def test_videos_without_labels_are_cached_too(tmp_path):
    """The test videos of the challenge: their length is the number of their last frame."""
    frames = write_videos(tmp_path / "set") / "cropped_aligned"
    (frames / "empty").mkdir()
    (frames / "test_left").mkdir()
    for number in (1, 2, 5):
        Image.new("RGB", (24, 24), (9 * number, 40, 80)).save(frames / f"test_left/{number:05d}.png")
    run = run_main(flags_of(tmp_path / "set", tmp_path / "features"), tmp_path / "run")
    assert run.status == 0 and "1 video without labels (such as test_left" in run.out
    rows = np.load(tmp_path / "features/test_left.npy")
    assert len(rows) == 5 and np.array_equal(rows[1], rows[3]) and not np.array_equal(rows[3], rows[4])
    assert not (tmp_path / "features/empty.npy").exists()


@pytest.fixture
def two(tmp_path):
    """A separate set whose videos are cached, and the flags of the command."""
    root = write_videos(tmp_path / "set")
    flags = flags_of(root, tmp_path / "features")
    assert run_main(flags, tmp_path / "run").status == 0
    return root, flags


def read_again(flags, folder, monkeypatch):
    """Return the videos that the command encodes."""
    ids, encode_video = [], video_features.encode_video
    with monkeypatch.context() as patched:
        patched.setattr(
            video_features, "encode_video", lambda video, *rest: ids.append(video.id) or encode_video(video, *rest)
        )
        run = run_main(flags, folder)
    assert run.status == 0, run.err
    return ids


def test_videos_with_changed_frames_or_damaged_features_are_read_again(two, tmp_path, monkeypatch):
    root, flags = two
    features = tmp_path / "features"
    assert read_again(flags, tmp_path / "a", monkeypatch) == []
    frame = sorted((root / "cropped_aligned/a").iterdir())[1]
    stat, data = frame.stat(), bytearray(frame.read_bytes())
    data[-3] ^= 1
    frame.write_bytes(data)
    os.utime(frame, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    np.save(features / "d.npy", np.zeros_like(np.load(features / "d.npy")))
    os.truncate(features / "e.npy", 100)
    assert sorted(read_again([*flags, "--on-bad-frame", "skip"], tmp_path / "b", monkeypatch)) == ["a", "d", "e"]
    index = json.loads((features / "index.json").read_text())
    del index["contents"], index["checksums"]  # as an older version wrote it
    (features / "index.json").write_text(json.dumps(index))
    assert read_again(flags, tmp_path / "c", monkeypatch) == []


def test_training_refuses_features_that_are_not_those_that_were_cached(two, tmp_path, capsys):
    features = tmp_path / "features"
    flags = f"--model sequence --task va --window 20 --stride 20 --device cpu --root-dir {two[0]} --features {features}"
    np.save(features / "d.npy", np.zeros_like(np.load(features / "d.npy")))
    message = error_of([*flags.split(), "--output-dir", str(tmp_path / "o")], capsys)
    assert f"{features}/d.npy: damaged, or not listed in {features}/index.json" in message


def test_one_process_writes_a_folder_and_files_of_a_killed_one_are_removed(two, tmp_path, capsys):
    root, flags = two
    features = tmp_path / "features"
    for name in ("d.npy.part", "index.json.part"):
        (features / name).touch()
    (features / "face-x.host.1.part").mkdir()  # of a cache of clips, in the same folder
    with acquire_lock(features / "index.lock", "locked"):
        assert "another process is writing there" in error_of([*flags, "--output-dir", str(tmp_path / "o")], capsys)
        assert (features / "d.npy.part").exists()
    assert run_main(flags, tmp_path / "again").status == 0
    assert {path.name for path in features.iterdir() if path.suffix in (".part", ".lock")} == {"face-x.host.1.part"}
