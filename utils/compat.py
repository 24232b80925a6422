"""Lets torchvision and openai-clip import beside any torch: two known faults, each mended only where it shows."""

import importlib.util
import sys
import types
import warnings

_kept: list = []  # a torch library that is garbage-collected takes its schemas with it


def allow_imports() -> None:
    """Call before the first ``import clip``; twice is harmless."""
    provide_pkg_resources()
    import_torchvision()


def import_torchvision() -> None:
    """torchvision's CUDA build registers shape rules for ``nms`` and ``qnms``, which it lacks beside a CPU torch, and
    its import raises. A schema without an implementation is enough for the import; nothing here calls the two."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        _forget_half_imported("torchvision")
        define_missing_operators()
        import torchvision  # noqa: F401


def define_missing_operators() -> None:
    import torch

    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not torch._C._jit_get_schemas_for_operator(f"torchvision::{name}"):
            fragment.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(fragment)


def provide_pkg_resources() -> None:
    """openai-clip 1.0.1 takes ``packaging`` out of pkg_resources, which setuptools 82 no longer has."""
    warnings.filterwarnings("ignore", message=".*pkg_resources is deprecated.*")
    if "pkg_resources" in sys.modules or importlib.util.find_spec("pkg_resources") is not None:
        return
    import packaging.version

    stand_in = types.ModuleType("pkg_resources")
    stand_in.packaging = packaging
    sys.modules["pkg_resources"] = stand_in


def _forget_half_imported(package: str) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]
