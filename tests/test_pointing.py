"""The pointing game of benchmarks/pointing.py: relevance is on the phone that decides a class."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from apps.attention.pictures import SquareSource
from apps.attention.run import open_explained
from benchmarks import pointing
from benchmarks.pointing import OBJECT, Game, Player, game_of, play, summary, table
from dataloader.annotation import Clip
from dataloader.clips import Views
from engine.config import read_command
from simulate import Settings
from simulate.raer import behave
from tests.support.tools import ROOT


def test_chance_is_the_share_of_the_picture_inside_the_target():
    source = SquareSource((0, 0, 200, 100), (0, 28, 112, 84))
    game = game_of(source, [100, 50, 150, 100], patch=16)  # (56, 56)–(84, 84) in the square, 8 more on each side
    assert game.target == pytest.approx((48, 48, 92, 92))
    assert game.chance() == pytest.approx(44 * 36 / (112 * 56))  # positions in the padding cannot be hits
    assert game.is_hit(50, 50) and not game.is_hit(40, 50) and game.middle() == (56, 56)
    points = np.random.default_rng(0).uniform((0, 28), (112, 84), (20000, 2))
    assert np.mean([game.is_hit(*point) for point in points]) == pytest.approx(game.chance(), abs=0.01)
    assert Game(source, (200, 200, 210, 210)).chance() == 0


@pytest.fixture(scope="module")
def players(tmp_path_factory):
    """Clips of the demo's test list in which a held phone decides the class, with their views and boxes."""
    settings, root, clips = Settings(), tmp_path_factory.mktemp("phones"), []
    for slot in settings.plan():
        if len(clips) == 2:
            break
        if slot.list_name != "test" or slot.label != 4 or behave(settings, slot)[0][0].phone != "held":
            continue
        record, files = settings.draw(slot)
        names = tuple(path.rpartition("/")[2] for path in files)
        (root / slot.folder).mkdir(parents=True)
        for path, data in files.items():
            (root / path).write_bytes(data)
        key = slot.folder
        clip = Clip(key, root / slot.folder, names, None, 4, key)
        views = Views(size=112, face_boxes={key: record.face_boxes}, body_boxes={key: record.body_box})
        clips.append((clip, views, record.objects))
    return clips


def open_player() -> Player:
    words = ["--mode", "attention", "--eval-checkpoint", str(ROOT / "weights/demo_best.pt"), "--test-annotation", "-"]
    options, config = read_command(words)
    return Player(open_explained(config, options)[3])


def test_the_relevance_finds_the_phone_that_decides_the_class(players, monkeypatch):
    monkeypatch.setattr(pointing, "RANDOM_SEEDS", (1,))
    player, rows = open_player(), []
    for clip, views, boxes in players:
        rows += play(player, clip, views, "clip", boxes)
    result = summary(rows)
    print(table(result))
    hits = result["hits"]
    assert len(rows) == 2 and all(OBJECT in frame for _, _, boxes in players for frame in boxes.values())
    assert hits["relevance"] >= 2 * hits["chance"] and 0.02 < hits["chance"] < 0.25
    assert hits["relevance"] >= 2 * hits["random weights"] and hits["relevance"] > hits["relevance of the second class"]
    fall = result["fall"]  # the relevant region is the one that the class needs
    for rival in ("chance", "random weights", "relevance of the second class"):
        assert fall["relevance"] > fall[rival] + 1


def test_random_weights_give_a_different_map():
    player = open_player()
    frames = torch.rand(1, 4, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    maps = player.maps_of(frames, frames, int(player.model(frames, frames).logits.argmax()))
    relevance = maps["relevance"].flatten(1).numpy()
    for seed in (1, 2, 3):
        random_map = maps[f"random weights, seed {seed}"].flatten(1).numpy()
        ranks = [spearmanr(a, b).statistic for a, b in zip(relevance, random_map, strict=True)]
        assert np.mean(ranks) < 0.4
