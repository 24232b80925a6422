"""A small pre-training of CLIP on simulated students."""

import json

import numpy as np
import torch

import main
from engine.device import to_pixels
from models.clip_backbone import load_clip
from models.clip_towers import ClipShape, ImageTower
from simulate import pretrain
from simulate.pretrain import Stills, Teacher, start_from_patches


def test_the_written_weights_load_like_any_other_clip(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrain, "HELD_OUT", 32)
    out = tmp_path / "mini.safetensors"
    flags = ["--mode", "pretrain-clip", "--stills", "64", "--epochs", "1", "--batch-size", "32", "--workers", "1"]
    assert main.main([*flags, "--clip-out", str(out), "--output-dir", str(tmp_path / "run")]) == 0
    assert load_clip(str(out)).shape == pretrain.MINI
    assert out.stat().st_size < 16e6
    scores = json.loads((tmp_path / "run/metrics.json").read_text())
    assert all(0 <= scores[f"{kind} {way} R@5"] <= 100 for kind in ("face", "scene") for way in ("image→text",))


def test_the_teacher_learns_the_content_of_a_feature():
    torch.manual_seed(0)
    words = [{"mouth": "open" if i % 2 else "closed"} for i in range(64)]
    feature = torch.randn(64, 8)
    feature[:, 0] = torch.tensor([1.0 if a["mouth"] == "open" else -1.0 for a in words])
    stills = Stills(np.empty(0), np.empty(0), words, {"smile": feature[:, 1].numpy()})
    teacher = Teacher({"mouth": ["closed", "open"]}, ["smile"], 8)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss = teacher(feature, stills, np.arange(64))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_the_patch_layer_starts_with_whitened_orthogonal_filters():
    torch.manual_seed(0)
    tower = ImageTower(ClipShape(64, 32, 8, 64, 1, 64, 1))
    pictures = np.random.default_rng(0).integers(0, 255, size=(200, 3, 32, 32), dtype=np.uint8)
    start_from_patches(tower, pictures)
    filters = tower.conv1.weight.detach().flatten(1)
    gram = filters @ filters.T
    off = gram - torch.diag(gram.diag())
    assert off.abs().max() < 1e-3 * gram.diag().min()
    with torch.no_grad():
        answers = tower.conv1(to_pixels(torch.from_numpy(pictures), "clip")).transpose(0, 1).flatten(1)
    assert torch.allclose(answers.std(dim=1), torch.full((64,), 0.5), atol=0.1)


def test_its_flags_are_refused_in_other_modes(capsys):
    assert main.main(["--stills", "100", "--dry-run"]) == 2
    assert "--stills" in capsys.readouterr().err
