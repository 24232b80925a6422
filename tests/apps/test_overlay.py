"""overlay.mp4: frames wait until their answers are known, also where a model reads hundreds of them together."""

from types import SimpleNamespace

import av
import numpy as np
import pytest

from apps.predict.overlay import HELD, Film, Overlay
from apps.predict.runner import FRAMES, About
from apps.predict.timeline import FACE, Row, Step

FPS, COUNT = 25.0, 220  # more frames than fit as they are


@pytest.fixture
def overlay(tmp_path):
    about = About("sequence", "m", kind=FRAMES, names=("calm",), streams="face", frames=1)
    config = SimpleNamespace(video=SimpleNamespace(max_persons=1))
    predictor = SimpleNamespace(about=about, config=config, timing=SimpleNamespace(every=None))
    return Overlay(tmp_path, predictor, SimpleNamespace(is_still=False, fps=FPS, width=960, height=540), write=False)


def test_frames_wait_for_a_model_that_reads_hundreds_of_them(overlay):
    frame = np.random.default_rng(0).integers(90, 110, (540, 960, 3), dtype=np.uint8)
    drawn = [overlay.add(Step(n / FPS, frame, [], [])) for n in range(COUNT)]
    assert drawn == [None] * COUNT and overlay.held < HELD
    rows = [[Row(n / FPS, (n + 1) / FPS, 1, FACE, (1.0,), 1, 1, "calm", 1.0)] for n in range(COUNT)]
    last = overlay.add(Step(COUNT / FPS, None, [], rows))
    assert not overlay.waiting and overlay.held == 0
    assert np.abs(last[200:500, 200:900].astype(int) - 100).max() < 40  # below the answer in the corner
    assert last[:60, :300].std() > 20  # the answer


@pytest.mark.parametrize("between", [0.001, 0.04, 100.0, 6 * 3600.0])
def test_frames_of_any_rate_keep_their_times(tmp_path, between):
    """Hours between frames that are built on one another are more than the format's counters hold of fine ticks."""
    film, times = Film(tmp_path / "a.mp4", 1 / between, 64, 48), [n * between for n in range(6)]
    for number, seconds in enumerate(times):
        film.add(seconds, np.full((48, 64, 3), 40 * number, np.uint8))
    film.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(times, abs=1e-4)
