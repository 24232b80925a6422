"""Where a map lies: the picture inside its padding, shares by area, frames between, and the phone that decides."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from apps.attention.pictures import SquareSource, context_source, interpolate, padding_share, paint, spread
from apps.attention.run import open_explained
from benchmarks.pointing import THING, Game, Player, game_of, play, summary, table
from dataloader.annotation import Clip
from dataloader.clips import Views
from dataloader.crops import crop_context, letterbox
from engine.settings import read_command
from simulate import Settings
from simulate.clip import behave, draw_clip
from simulate.plan import plan_set
from tests.support.tools import ROOT


@pytest.mark.parametrize("box", [(30.0, 10.0, 130.0, 110.0), (5.0, 40.0, 155.0, 90.0), (60.0, 0.0, 90.0, 120.0), None])
def test_inside_is_what_the_letterbox_leaves(box):
    white = np.full((120, 160, 3), 255, np.uint8)
    square = letterbox(crop_context(white, box), 112)
    source = context_source(160, 120, box, 112)
    rows, columns = np.nonzero(square[..., 0])
    assert source.inside == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert source.area == ((0, 0, 160, 120) if box is None else tuple(map(int, box)))


def test_padding_gets_its_share_by_area():
    source = SquareSource((0, 0, 100, 50), (0, 28, 112, 84))  # a quarter above, a quarter below
    assert padding_share(np.ones((3, 7, 7)), [source] * 3, 112) == pytest.approx(0.5)
    maps = np.zeros((1, 7, 7))
    maps[0, 1, 3] = 2.0  # rows 16 to 32: a quarter of the patch is inside
    assert padding_share(maps, [source], 112) == pytest.approx(0.75)
    assert padding_share(np.zeros((1, 7, 7)), [source], 112) == 0


def test_a_map_is_cut_and_enlarged_to_its_part_of_the_frame():
    values = np.zeros((4, 4))
    values[1, 2] = 1.0  # the patch of x 64 to 96, y 32 to 64 in a square of 128
    enlarged = spread(values, SquareSource((0, 0, 200, 100), (0, 32, 128, 96)), 128, (100, 200))
    y, x = np.unravel_index(enlarged.argmax(), enlarged.shape)
    assert enlarged.shape == (100, 200) and enlarged.min() >= 0
    assert x == pytest.approx(80 / 128 * 200, abs=2) and y == pytest.approx((48 - 32) / 64 * 100, abs=2)


def test_no_relevance_leaves_a_grey_picture_and_much_covers_it():
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    plain, covered = paint(picture, np.zeros((8, 8))), paint(picture, np.ones((8, 8)))
    assert (plain == plain[..., :1]).all() and plain.std() > 10
    assert covered.std(axis=(0, 1)).max() < 0.4 * plain.std() and covered[..., 0].mean() > 200


def test_frames_between_two_get_what_lies_between():
    maps = np.array([[[0.0]], [[4.0]], [[2.0]]])
    values = interpolate(maps, [1, 5, 6], [0, 1, 2, 3, 5, 6, 9])
    assert values.ravel().tolist() == [0, 0, 1, 2, 4, 2, 2]
    assert interpolate(maps[:1], [3], [0, 3, 7]).ravel().tolist() == [0, 0, 0]


def test_chance_is_the_part_of_the_picture_that_hits():
    source = SquareSource((0, 0, 200, 100), (0, 28, 112, 84))
    game = game_of(source, [100, 50, 150, 100], patch=16)  # (56, 56)–(84, 84) in the square, 8 more on each side
    assert game.target == pytest.approx((48, 48, 92, 92))
    assert game.chance() == pytest.approx(44 * 36 / (112 * 56))  # what lies in the padding cannot be hit
    assert game.is_hit(50, 50) and not game.is_hit(40, 50) and game.middle() == (56, 56)
    points = np.random.default_rng(0).uniform((0, 28), (112, 84), (20000, 2))
    assert np.mean([game.is_hit(*point) for point in points]) == pytest.approx(game.chance(), abs=0.01)
    assert Game(source, (200, 200, 210, 210)).chance() == 0


@pytest.fixture(scope="module")
def players(tmp_path_factory):
    """Clips of the demo's test list in which a held phone decides, drawn alone, each with its views and boxes."""
    settings, root, clips = Settings(), tmp_path_factory.mktemp("phones"), []
    for slot in plan_set(settings):
        if len(clips) == 4:
            break
        if slot.list_name != "test" or slot.label != 4 or behave(settings, slot)[0][0].phone != "held":
            continue
        record, pictures = draw_clip(settings, slot)
        names = tuple(f"{n:05d}.jpg" for n in range(1, len(pictures) + 1))
        (root / slot.folder).mkdir(parents=True)
        for name, data in zip(names, pictures, strict=True):
            (root / slot.folder / name).write_bytes(data)
        key = slot.folder
        clip = Clip(key, root / slot.folder, names, None, 4, key)
        views = Views(size=112, face_boxes={key: record.face_boxes}, body_boxes={key: record.body_box})
        clips.append((clip, views, record.objects))
    return clips


def open_player() -> Player:
    words = ["--mode", "attention", "--eval-checkpoint", str(ROOT / "weights/demo_best.pt"), "--test-annotation", "-"]
    options, config = read_command(words)
    return Player(open_explained(config, options)[3])


def test_the_phone_that_decides_is_found(players):
    player, rows = open_player(), []
    for clip, views, boxes in players:
        rows += play(player, clip, views, "clip", boxes)
    result = summary(rows)
    print(table(result))
    hits = result["hits"]
    assert len(rows) >= 3 and all(THING in frame for _, _, boxes in players for frame in boxes.values())
    assert hits["relevance"] >= 2 * hits["chance"] and 0.02 < hits["chance"] < 0.25
    assert hits["relevance"] >= 2 * hits["random weights"] and hits["relevance"] > hits["relevance of the second class"]
    fall = result["fall"]  # what is relevant is what the class needs
    for rival in ("chance", "random weights", "relevance of the second class"):
        assert fall["relevance"] > fall[rival] + 1


def test_random_weights_show_another_map():
    player = open_player()
    frames = torch.rand(1, 4, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    maps = player.maps_of(frames, frames, int(player.model(frames, frames).logits.argmax()))
    relevance = maps["relevance"].flatten(1).numpy()
    for seed in (1, 2, 3):
        random_map = maps[f"random weights, seed {seed}"].flatten(1).numpy()
        ranks = [spearmanr(a, b).statistic for a, b in zip(relevance, random_map, strict=True)]
        assert np.mean(ranks) < 0.4
