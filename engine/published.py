"""Turn a published checkpoint into one of ours: its tensors, and published values of options they do not show."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.methods import method_named
from engine.methods.base import Method, PublishedLayout
from engine.options import GROUPS, Config
from engine.registry import method_names
from engine.run_checkpoints import checkpoint_facts
from models.clip_towers import VOCABULARY, shape_of
from models.published import Published, sort_published
from utils.config import resolve
from utils.errors import UserError

PUBLISHED_PIXELS = {"normalize": "none", "missing_face": "frame", "sampling": "published"}


def method_of_layout(name: str) -> tuple[Method, PublishedLayout]:
    """Return the method that a published layout belongs to, and what is known about the layout."""
    methods = (method_named(method) for method in method_names())
    return next((method, method.published[name]) for method in methods if name in method.published)


def adopt(container: Mapping[str, Any], path: Path, flags: Mapping[str, Any]) -> tuple[dict[str, Any], Published]:
    """Return the content of a checkpoint of ours, and a report on the keys of the published one."""
    state = container["state_dict"] if isinstance(container.get("state_dict"), dict) else container
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    report = sort_published(tensors)
    if report is None:
        keys = ", ".join(str(key)[:40] for key in list(state)[:3]) or "nothing"
        raise UserError(
            f"{path}: not a known checkpoint layout (it holds {keys} ...); a file with only a CLIP is for --clip-path"
        )
    report.unexpected += [str(key) for key in state if key not in tensors]
    method, layout = method_of_layout(report.family)
    require_whole(report, layout, path, flags)
    if report.token_embedding is not None and len(report.token_embedding) != VOCABULARY:
        raise UserError(f"{path}: a token embedding of {len(report.token_embedding)} rows, expected {VOCABULARY}")
    shape = shape_of(report.model, "image_encoder.", "text_encoder.")
    adopted = method.adopt(report, shape, flags)
    file_options = {
        "model": method.name,
        "image_size": shape.image_size,
        "clip_path": path.name,
        "exper_name": path.stem,
    }
    unknown = [name for name in method.unknown_to_tensors() if name not in adopted.options]
    overrides = {name: flags[name] for name in unknown if name in flags}
    config = Config(**resolve(GROUPS, PUBLISHED_PIXELS, layout.options, adopted.options, file_options, overrides))
    epoch, selected_on = container.get("epoch"), "not known: a published file (the published scripts choose on test)"
    content = checkpoint_facts(
        config, adopted.classes.names, adopted.classes.label_base, selected_on, shape.as_dict()
    ) | {"model": report.model, "epoch": epoch if isinstance(epoch, int) else 0}
    if report.missing:
        content["partial"] = [report.names[key] for key in report.missing]
    if adopted.unnamed is not None:
        content["unnamed"] = adopted.unnamed
    return content, report


def require_whole(report: Published, layout: PublishedLayout, path: Path, flags: Mapping[str, Any]) -> None:
    """Raise a UserError if keys are missing, unknown or differ, unless the user allows it."""
    faults = {
        "lacks": report.missing,
        "holds unknown keys": report.unexpected,
        "holds two unequal copies of": report.differing,
        "has layers that this project does not have:": report.unsupported,
    }
    sentences = [f"{fault} {_listed(keys)}" for fault, keys in faults.items() if keys]
    if sentences and not flags.get("allow_partial"):
        raise UserError(f"{path}: {layout.title}, but it {'; it '.join(sentences)} (--allow-partial loads what fits)")


def _listed(keys: list[str], most: int = 6) -> str:
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
