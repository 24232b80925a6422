"""The two mends for imports: harmless where nothing is broken, and enough where something is."""

import importlib.util
import sys

import torch

from utils.compat import allow_imports, define_missing_operators, provide_pkg_resources


def test_twice_is_harmless_and_openai_clip_imports():
    allow_imports()
    allow_imports()
    import clip

    assert "ViT-B/32" in clip.available_models()


def test_both_operators_have_a_schema_and_defining_them_again_changes_nothing():
    define_missing_operators()
    define_missing_operators()
    for name in ("nms", "qnms"):
        assert len(torch._C._jit_get_schemas_for_operator(f"torchvision::{name}")) == 1


def test_a_missing_pkg_resources_is_stood_in_for(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.delitem(sys.modules, "pkg_resources", raising=False)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "pkg_resources" else find(name, *a)
    )
    provide_pkg_resources()
    from pkg_resources import packaging

    assert packaging.version.parse("2.13.0+cpu") > packaging.version.parse("1.7.1")
    monkeypatch.delitem(sys.modules, "pkg_resources")
