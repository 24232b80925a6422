"""Videos as frames: times, rotation, and files that are not what they seem."""

import gc
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from dataloader.video import TooLong, open_video
from tests.support.filming import FPS, HEIGHT, WIDTH, film, picture, sound
from utils.errors import UserError

MIRROR = [-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30]


def corner_box(frame: np.ndarray) -> tuple[int, ...]:
    """Left, top, right, bottom of what is red."""
    rows, columns = np.nonzero((frame[..., 0] > 150) & (frame[..., 1] < 100))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("codec, name", [("libx264", "a.mp4"), ("mpeg4", "a.avi"), ("libx264", "a.mkv")])
def test_frames_and_their_times(tmp_path, codec, name):
    film(tmp_path / name, [picture(4 * n) for n in range(30)], codec=codec)
    with open_video(tmp_path / name) as video:
        assert (video.width, video.height, video.name) == (WIDTH, HEIGHT, "a")
        assert video.fps == FPS and video.duration == pytest.approx(1.5, abs=0.06)
        found = list(video)
    assert [seconds for seconds, _ in found] == pytest.approx([n / FPS for n in range(30)], abs=2e-3)
    for number, (_, frame) in enumerate(found):
        assert frame.dtype == np.uint8 and frame.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(np.subtract(corner_box(frame), (4 * number, 30, 4 * number + 32, 62))).max() <= 2
    assert video.damaged is None


@pytest.mark.parametrize("degrees, turns", [(90, 1), (180, 2), (270, 3)])
def test_rotated_as_the_file_asks(tmp_path, degrees, turns):
    drawn = picture(0, top=0)
    film(tmp_path / "a.mp4", [drawn] * 3, rotation=degrees)
    video = open_video(tmp_path / "a.mp4")
    frame = next(iter(video))[1]
    expected = np.rot90(drawn, turns)  # counterclockwise, as FFmpeg counts
    assert frame.shape == expected.shape == (video.height, video.width, 3)
    assert np.abs(frame.astype(int) - expected).mean() < 4


def test_a_matroska_that_begins_late_is_whole(tmp_path):
    """Its header counts from 0, wherever its first picture stands."""
    times = [100_000 + 50 * n for n in range(30)]
    video = open_video(film(tmp_path / "a.mkv", [picture(n) for n in range(30)], times=times))
    assert len(list(video)) == 30 and video.damaged is None
    assert video.duration == pytest.approx(1.5, abs=0.06) and video.end == pytest.approx(1.5, abs=0.06)


def test_frames_a_day_apart_are_counted_on(tmp_path):
    """What is longer than the format of an overlay can count, no file may claim of a frame."""
    video = open_video(film(tmp_path / "a.mkv", [picture(n) for n in range(3)], fps=Fraction(1, 86400)))
    assert [seconds for seconds, _ in video] == [0, 6 * 3600, 12 * 3600] and "times that leap" in video.damaged


def test_mirrored_as_the_file_asks(tmp_path):
    film(tmp_path / "a.mp4", [picture(0)] * 3, matrix=MIRROR)
    left, _, right, _ = corner_box(next(iter(open_video(tmp_path / "a.mp4")))[1])
    assert (left, right) == pytest.approx((WIDTH - 32, WIDTH), abs=2)


def test_a_variable_rate_keeps_its_times(tmp_path):
    times = [0, 40, 80, 1000, 1040, 2500]
    film(tmp_path / "a.mkv", [picture(10 * n) for n in range(6)], times=times)
    found = list(open_video(tmp_path / "a.mkv"))
    assert [seconds for seconds, _ in found] == pytest.approx([t / 1000 for t in times], abs=2e-3)
    assert abs(corner_box(found[3][1])[0] - 30) <= 2


def test_frames_every_so_often(tmp_path):
    film(tmp_path / "a.mp4", [picture(n) for n in range(40)])
    found = list(open_video(tmp_path / "a.mp4").frames(every=0.5))
    assert [seconds for seconds, _ in found] == pytest.approx([0, 0.5, 1.0, 1.5])


def test_after_a_gap_the_frame_that_comes_is_taken_once(tmp_path):
    film(tmp_path / "a.mkv", [picture(n) for n in range(6)], times=[0, 50, 100, 1070, 1120, 1170])
    assert [s for s, _ in open_video(tmp_path / "a.mkv").frames(0.1)] == pytest.approx([0, 0.1, 1.07, 1.12], abs=2e-3)


def test_parts_with_times_of_their_own_follow_one_another(tmp_path):
    """Two transport streams one behind the other, as recorders leave them: the times begin anew in the middle."""
    one = film(tmp_path / "one.ts", [picture(n) for n in range(40)], codec="mpeg2video", fps=25).read_bytes()
    (tmp_path / "two.ts").write_bytes(one + one)
    video = open_video(tmp_path / "two.ts")
    times = [seconds for seconds, _ in video]
    assert times == pytest.approx(np.arange(80) / 25, abs=0.021)
    assert "leap" in video.damaged


def test_a_leap_of_days_is_no_day(tmp_path):
    film(tmp_path / "a.mkv", [picture(n) for n in range(6)], times=[0, 50, 100, 10**9, 10**9 + 50, 10**9 + 100])
    video = open_video(tmp_path / "a.mkv")
    assert [seconds for seconds, _ in video][-1] < 5 and "leap" in video.damaged


def test_a_pass_ends_behind_the_longest(tmp_path):
    video = open_video(film(tmp_path / "a.mkv", [picture(n) for n in range(3)], times=[0, 50, 60_000]))
    video.longest = 2.0
    with pytest.raises(TooLong, match="longer than 2 s"):
        list(video)


def test_a_pass_can_be_repeated(tmp_path):
    video = open_video(film(tmp_path / "a.mp4", [picture(9)] * 5))
    assert len(list(video)) == len(list(video)) == 5


def test_a_truncated_file_gives_what_decodes_and_says_so(tmp_path):
    rng = np.random.default_rng(0)
    whole = film(tmp_path / "a.mkv", [rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(60)])
    data = whole.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) // 2])
    video = open_video(cut)
    count = len(list(video))
    assert 15 <= count <= 40
    assert video.damaged


def test_files_that_are_no_videos(tmp_path):
    whole = film(tmp_path / "a.mp4", [picture(9)] * 30).read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])  # its index stood at the end
    Image.fromarray(picture(3)).save(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(tmp_path / "picture.mp4")
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{tmp_path / 'a.mp4'}\n")
    sound(tmp_path / "sound.mp4")
    expected = {
        "empty.mp4": "is empty",
        "text.mp4": "cannot be read as a video",
        "half.mp4": "cannot be read as a video",
        "picture.mp4": "cannot be read as a video",
        "list.mp4": "cannot be read as a video",
        "sound.mp4": "sound alone",
        "none.mp4": "no such file",
    }
    for name, words in expected.items():
        with pytest.raises(UserError, match=words) as caught:
            open_video(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_wrong_suffix_does_not_matter(tmp_path):
    film(tmp_path / "a.mp4", [picture(9)] * 5).rename(tmp_path / "a.avi")
    assert len(list(open_video(tmp_path / "a.avi"))) == 5


def test_a_folder_of_frames_in_the_order_of_its_numbers(tmp_path):
    for number in (1, 2, 10):
        Image.fromarray(picture(number * 5)).save(tmp_path / f"{number}.png")
    found = list(open_video(tmp_path, fps=2))
    assert [s for s, _ in found] == [0, 0.5, 1.0]
    assert [corner_box(frame)[0] for _, frame in found] == [5, 10, 50]


def test_a_folder_with_a_bad_image_or_none(tmp_path):
    with pytest.raises(UserError, match="holds no image"):
        open_video(tmp_path)
    (tmp_path / "1.png").write_bytes(b"no")
    with pytest.raises(UserError, match="none of its 1 images"):
        open_video(tmp_path)
    Image.fromarray(picture(5)).save(tmp_path / "2.png")
    video = open_video(tmp_path)
    assert len(list(video)) == 1 and "1.png" in video.damaged


def test_no_such_camera():
    with pytest.raises(UserError, match="camera 99: cannot be opened"):
        open_video("99")


def test_a_picture_is_a_video_of_one_frame(tmp_path):
    drawn = picture(10)
    Image.fromarray(drawn).save(tmp_path / "a.png")
    with open_video(tmp_path / "a.png") as video:
        ((seconds, frame),) = list(video)
    assert np.array_equal(frame, drawn) and seconds == 0 and video.is_still and video.damaged is None
    assert (video.width, video.height, video.duration, video.end) == (WIDTH, HEIGHT, 1.0, 1.0)


def test_a_photograph_is_turned_as_the_camera_noted(tmp_path):
    noted = Image.Exif()
    noted[0x0112] = 6  # orientation: the top is to the right
    drawn = picture(0, top=0)
    Image.fromarray(drawn).save(tmp_path / "a.png", exif=noted)
    frame = next(iter(open_video(tmp_path / "a.png")))[1]
    assert np.array_equal(frame, np.rot90(drawn, -1))  # clockwise


@pytest.mark.parametrize(("content", "told"), [(b"", "is empty"), (b"no", "cannot be read"), (None, "no such")])
def test_a_picture_that_is_none(tmp_path, content, told):
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=told):
        open_video(tmp_path / "a.jpg")


def test_frames_that_have_passed_are_gone_without_the_garbage_collector(tmp_path):
    """A frame that is kept by a cycle waits for a collection of the eldest: minutes of video by then."""
    film(tmp_path / "a.mp4", [picture(n) for n in range(60)], rotation=90)
    gc.collect()
    gc.disable()
    try:
        number = sum(1 for _ in open_video(tmp_path / "a.mp4"))
        left = sum(type(one) is av.VideoFrame for one in gc.get_objects())
    finally:
        gc.enable()
    assert number == 60 and left < 10
