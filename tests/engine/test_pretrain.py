"""CLIP pre-training on drawn students, in miniature."""

import json

import torch

import main
from engine import pretrain
from engine.pretrain import AttributeHeads
from models.clip_backbone import load_clip


def test_it_writes_weights_that_load_as_any_other_clip(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrain, "HELD_OUT", 32)
    out = tmp_path / "mini.safetensors"
    flags = ["--mode", "pretrain-clip", "--stills", "64", "--epochs", "1", "--batch-size", "32", "--workers", "1"]
    assert main.main([*flags, "--clip-out", str(out), "--output-dir", str(tmp_path / "run")]) == 0
    assert load_clip(str(out)).shape == pretrain.MINI
    assert out.stat().st_size < 16e6
    scores = json.loads((tmp_path / "run/metrics.json").read_text())
    assert all(0 <= scores[f"{kind} {way} R@5"] <= 100 for kind in ("face", "scene") for way in ("image→text",))


def test_attribute_heads_learn_what_a_feature_holds():
    torch.manual_seed(0)
    seen = [{"mouth": "open" if i % 2 else "closed"} for i in range(64)]
    feature = torch.randn(64, 8)
    feature[:, 0] = torch.tensor([1.0 if a["mouth"] == "open" else -1.0 for a in seen])
    heads = AttributeHeads({"mouth": ["closed", "open"]}, 8)
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss = heads(feature, heads.targets(seen))
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_its_flags_are_refused_elsewhere(capsys):
    assert main.main(["--stills", "100", "--dry-run"]) == 2
    assert "--stills" in capsys.readouterr().err
