"""Videos and pictures as frames: times, rotation, and wrong or damaged files."""

import gc
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from dataloader.frames import of_one_size
from dataloader.video import FileVideo, FolderVideo, PictureVideo, TooLong, open_video
from tests.support.filming import FPS, HEIGHT, WIDTH, film, picture, sound
from utils.errors import UserError

MIRROR = [-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30]


def red_box(frame: np.ndarray) -> tuple[int, ...]:
    """Return left, top, right, bottom of the red pixels."""
    rows, columns = np.nonzero((frame[..., 0] > 150) & (frame[..., 1] < 100))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def pictures(count: int) -> list[np.ndarray]:
    return [picture(n) for n in range(count)]


def times_of(video, every: float | None = None) -> list[float]:
    return [seconds for seconds, _ in video.frames(every)]


@pytest.mark.parametrize(("codec", "name"), [("libx264", "a.mp4"), ("mpeg4", "a.avi"), ("libx264", "a.mkv")])
def test_frames_and_their_times(tmp_path, codec, name):
    film(tmp_path / name, [picture(4 * n) for n in range(30)], codec=codec)
    with open_video(tmp_path / name) as video:
        assert (video.width, video.height, video.name) == (WIDTH, HEIGHT, "a")
        assert video.fps == FPS and video.duration == pytest.approx(1.5, abs=0.06)
        frames = list(video)
    assert [seconds for seconds, _ in frames] == pytest.approx([n / FPS for n in range(30)], abs=2e-3)
    for number, (_, frame) in enumerate(frames):
        assert frame.dtype == np.uint8 and frame.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(np.subtract(red_box(frame), (4 * number, 30, 4 * number + 32, 62))).max() <= 2
    assert video.damaged is None
    assert times_of(video) == [seconds for seconds, _ in frames], "a pass can be repeated"


@pytest.mark.parametrize(
    ("options", "turn"),
    [
        ({"rotation": 90}, np.rot90),  # counterclockwise, as FFmpeg counts
        ({"rotation": 180}, lambda frame: np.rot90(frame, 2)),
        ({"rotation": 270}, lambda frame: np.rot90(frame, 3)),
        ({"matrix": MIRROR}, np.fliplr),
    ],
)
def test_a_video_is_rotated_as_its_file_says(tmp_path, options, turn):
    pixels = picture(0, top=0)
    video = open_video(film(tmp_path / "a.mp4", [pixels] * 3, **options))
    frame, expected = next(iter(video))[1], turn(pixels)
    assert frame.shape == expected.shape == (video.height, video.width, 3)
    assert np.abs(frame.astype(int) - expected).mean() < 4


def test_a_matroska_file_that_begins_late_is_read_completely(tmp_path):
    """The times of its header start at 0, whatever the time of its first picture."""
    times = [100_000 + 50 * n for n in range(30)]
    video = open_video(film(tmp_path / "a.mkv", pictures(30), times=times))
    assert len(list(video)) == 30 and video.damaged is None
    assert video.duration == pytest.approx(1.5, abs=0.06) and video.end == pytest.approx(1.5, abs=0.06)


def test_frames_a_day_apart_are_given_consecutive_times(tmp_path):
    """A file may not state a duration of a frame that the format of the overlay cannot count."""
    video = open_video(film(tmp_path / "a.mkv", pictures(3), fps=Fraction(1, 86400)))
    assert times_of(video) == [0, 6 * 3600, 12 * 3600] and "times that jump" in video.damaged


def test_a_variable_rate_keeps_its_times(tmp_path):
    times = [0, 40, 80, 1000, 1040, 2500]
    frames = list(open_video(film(tmp_path / "a.mkv", [picture(10 * n) for n in range(6)], times=times)))
    assert [seconds for seconds, _ in frames] == pytest.approx([t / 1000 for t in times], abs=2e-3)
    assert abs(red_box(frames[3][1])[0] - 30) <= 2


@pytest.mark.parametrize(
    ("times", "every", "expected"),
    [
        ([50 * n for n in range(40)], 0.5, [0, 0.5, 1.0, 1.5]),
        ([0, 50, 100, 1070, 1120, 1170], 0.1, [0, 0.1, 1.07, 1.12]),  # after a gap the next frame is used once
    ],
)
def test_frames_at_a_regular_spacing(tmp_path, times, every, expected):
    video = open_video(film(tmp_path / "a.mkv", pictures(len(times)), times=times))
    assert times_of(video, every) == pytest.approx(expected, abs=2e-3)


def test_parts_with_their_own_times_follow_one_another(tmp_path):
    """Two joined transport streams, as recorders write them: the times start again in the middle."""
    stream = film(tmp_path / "one.ts", pictures(40), codec="mpeg2video", fps=25).read_bytes()
    (tmp_path / "two.ts").write_bytes(stream + stream)
    video = open_video(tmp_path / "two.ts")
    assert times_of(video) == pytest.approx(np.arange(80) / 25, abs=0.021)
    assert "jump" in video.damaged


def test_a_time_jump_of_days_is_ignored(tmp_path):
    times = [0, 50, 100, 10**9, 10**9 + 50, 10**9 + 100]
    video = open_video(film(tmp_path / "a.mkv", pictures(6), times=times))
    assert times_of(video)[-1] < 5 and "jump" in video.damaged


def test_reading_ends_after_the_longest_allowed_time(tmp_path):
    video = open_video(film(tmp_path / "a.mkv", pictures(3), times=[0, 50, 60_000]))
    video.longest = 2.0
    with pytest.raises(TooLong, match="longer than 2 s"):
        list(video)


def test_a_truncated_file_gives_the_frames_that_decode_and_a_message(tmp_path):
    rng = np.random.default_rng(0)
    data = film(tmp_path / "a.mkv", list(rng.integers(0, 255, (60, HEIGHT, WIDTH, 3), np.uint8))).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    video = open_video(tmp_path / "cut.mkv")
    assert 15 <= len(list(video)) <= 40 and video.damaged


def test_files_that_are_not_videos_are_refused(tmp_path):
    content = film(tmp_path / "a.mp4", [picture(9)] * 30).read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    (tmp_path / "half.mp4").write_bytes(content[: len(content) // 2])  # its index was at the end
    Image.fromarray(picture(3)).save(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(tmp_path / "picture.mp4")
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{tmp_path / 'a.mp4'}\n")
    sound(tmp_path / "sound.mp4")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_bytes(b"no")
    (tmp_path / "folder").mkdir()
    for name, part in {
        "empty.mp4": "is empty",
        "text.mp4": "cannot be read as a video",
        "half.mp4": "cannot be read as a video",
        "picture.mp4": "cannot be read as a video",
        "list.mp4": "cannot be read as a video",
        "sound.mp4": "only sound",
        "none.mp4": "no such file",
        "empty.jpg": "is empty",
        "text.jpg": "cannot be read",
        "none.jpg": "no such",
        "folder": "holds no image",
    }.items():
        with pytest.raises(UserError, match=part) as error:
            open_video(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)


def test_a_wrong_suffix_does_not_matter(tmp_path):
    film(tmp_path / "a.mp4", [picture(9)] * 5).rename(tmp_path / "a.avi")
    assert len(list(open_video(tmp_path / "a.avi"))) == 5


def test_a_folder_of_frames_in_the_order_of_its_numbers(tmp_path):
    for number in (1, 2, 10):
        Image.fromarray(picture(number * 5)).save(tmp_path / f"{number}.png")
    frames = list(open_video(tmp_path, fps=2))
    assert [seconds for seconds, _ in frames] == [0, 0.5, 1.0]
    assert [red_box(frame)[0] for _, frame in frames] == [5, 10, 50]


def test_a_folder_with_a_bad_image(tmp_path):
    (tmp_path / "1.png").write_bytes(b"no")
    with pytest.raises(UserError, match="none of its 1 images"):
        open_video(tmp_path)
    Image.fromarray(picture(5)).save(tmp_path / "2.png")
    video = open_video(tmp_path)
    assert len(list(video)) == 1 and "1.png" in video.damaged


def test_a_missing_camera_is_an_error():
    with pytest.raises(UserError, match="camera 99: cannot be opened"):
        open_video("99")


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_a_video_of_one_frame_rotated_like_pillow(tmp_path, orientation):
    pixels = np.random.default_rng(0).integers(256, size=(3, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif_of(orientation))
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    with open_video(tmp_path / "a.png") as video:
        ((seconds, frame),) = list(video)
    assert np.array_equal(frame, expected) and seconds == 0 and video.is_still and video.damaged is None
    assert (video.height, video.width, video.duration, video.end) == (*expected.shape[:2], 1.0, 1.0)


def test_photographs_on_their_side_have_another_size(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    Image.new("RGB", (40, 30)).save(tmp_path / "b.jpg", exif=exif_of(6))
    assert of_one_size(tmp_path, ["a.jpg"]) and not of_one_size(tmp_path, ["a.jpg", "b.jpg"])


@pytest.mark.parametrize("name", ["b.jpg", "b.png", "b.tif", "b.webp", "grey.png"])
def test_the_stated_size_is_that_of_the_upright_picture(tmp_path, name):
    pixels = np.zeros((30, 40), np.uint16) if "grey" in name else np.zeros((30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / name, exif=exif_of(6))
    Image.new("RGB", (30, 40)).save(tmp_path / "a.png")
    assert of_one_size(tmp_path, ["a.png", name])
    assert [frame.shape for _, frame in FolderVideo(tmp_path, 25.0)] == [(40, 30, 3)] * 2


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_picture_with_broken_exif_is_not_rotated(tmp_path, name):
    Image.new("RGB", (40, 30)).save(tmp_path / name, exif=b"Exif\0\0garbage")
    assert PictureVideo(tmp_path / name).pixels.shape == (30, 40, 3) and of_one_size(tmp_path, [name])


def test_frames_that_have_passed_are_freed_without_the_garbage_collector(tmp_path):
    """A frame in a reference cycle would stay in memory until a full collection, for minutes of video."""
    film(tmp_path / "a.mp4", pictures(60), rotation=90)
    gc.collect()
    gc.disable()
    try:
        number = sum(1 for _ in open_video(tmp_path / "a.mp4"))
        num_alive = sum(type(item) is av.VideoFrame for item in gc.get_objects())
    finally:
        gc.enable()
    assert number == 60 and num_alive < 10


@pytest.mark.parametrize("error", [IndexError("list index out of range"), av.InvalidDataError(1, "invalid data")])
def test_a_file_that_ends_while_its_packets_are_read(tmp_path, monkeypatch, error):
    """PyAV raises IndexError if a damaged .ts file names a stream that it did not announce."""
    film(tmp_path / "a.ts", pictures(30))

    class Broken:
        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.container.close()

        def demux(self, stream):
            for number, packet in enumerate(self.container.demux(stream)):
                if number == 20:
                    raise error
                yield packet

    open_file = FileVideo._open
    monkeypatch.setattr(FileVideo, "_open", lambda self: Broken(open_file(self)))
    video = open_video(tmp_path / "a.ts")
    assert 0 < len(list(video)) <= 20 and "breaks off" in video.damaged
