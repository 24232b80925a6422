"""Repairs that let torchvision and openai-clip be imported beside any torch. Each acts only where it is needed."""

import importlib.util
import sys
import types
import warnings

_libraries: list = []  # a torch library that is garbage-collected takes its schemas with it


def allow_imports() -> None:
    """Call this before the first ``import clip``. Calling it twice is harmless."""
    provide_pkg_resources()
    import_torchvision()


def import_torchvision() -> None:
    """Import torchvision, also a build for CUDA beside a torch for CPUs.

    Such a build registers shape rules for the operators ``nms`` and ``qnms``, which do not exist then, and its import
    fails. A schema without an implementation is enough for the import, and nothing here calls the two operators.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half imported
        define_missing_operators()
        import torchvision  # noqa: F401


def define_missing_operators() -> None:
    import torch

    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not torch._C._jit_get_schemas_for_operator(f"torchvision::{name}"):
            fragment.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(fragment)


def provide_pkg_resources() -> None:
    """Provide the part of pkg_resources that openai-clip 1.0.1 reads, ``packaging``. setuptools 82 has it no more."""
    warnings.filterwarnings("ignore", message=".*pkg_resources is deprecated.*")
    if "pkg_resources" in sys.modules or importlib.util.find_spec("pkg_resources") is not None:
        return
    import packaging.version

    stand_in = types.ModuleType("pkg_resources")
    stand_in.packaging = packaging
    sys.modules["pkg_resources"] = stand_in
