"""A published checkpoint becomes one of ours: its tensors, and the recipe of its family for what they cannot tell."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dataloader.classes import Classes, load_classes
from engine.options import GROUPS, Config
from models.build import class_tokens
from models.clip_towers import VOCABULARY, ClipShape, TextTower, count_blocks, shape_of
from models.published import Published, recover_texts, sort_published
from utils.checkpoint import FORMAT
from utils.config import resolve
from utils.errors import UserError

UNTOLD = (  # options that tensors cannot tell: from the family's recipe, or from the user
    "temperature", "class_token_position", "slerp_weight", "iec_text", "normalize", "missing_face", "crop_body",
    "text_type", "dataset", "class_texts",
)  # fmt: skip
UNTOLD_OF_EMOCLIP = (
    "num_segments", "sampling", "downsample", "normalize", "missing_face", "text_type", "dataset", "class_texts",
)  # fmt: skip
PUBLISHED_PIXELS = {"normalize": "none", "missing_face": "frame", "sampling": "published"}
PUBLISHED_EMOCLIP = {
    "model": "emoclip", "num_segments": 32, "normalize": "clip", "streams": "face", "sampling": "window",
    "downsample": 4, "swapped_heads": True, "adapter": "none", "slerp_weight": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """``model``: which of our models it is; ``recipe``: the published values of options."""

    title: str
    model: str
    recipe: dict[str, Any]


FAMILIES = {
    "clip-caer": Family("CLIP-CAER", "clip-caer", {"temperature": 0.01, "slerp_weight": 0.0, "adapter": "none"}),
    "clip-caer-fork": Family(
        "CLIP-CAER with adapter and instance-enhanced classifier",
        "clip-caer",
        {"temperature": 0.07, "slerp_weight": 0.5, "adapter": "published"},
    ),
    "clip-caer-two-heads": Family(
        "CLIP-CAER with two extra heads",
        "clip-caer",
        {"temperature": 0.07, "slerp_weight": 0.0, "adapter": "published"},
    ),
    "rapt": Family(
        "RAPT-CLIP-CAER, attention pooling",
        "clip-caer",
        {"temperature": 0.07, "slerp_weight": 0.0, "adapter": "published", "text_type": "prompt_ensemble"},
    ),
    "dfer-clip": Family(
        "DFER-CLIP",
        "dfer-clip",
        {"model": "dfer-clip", "temperature": 0.01, "slerp_weight": 0.0, "adapter": "none", "streams": "face"},
    ),
    "emoclip": Family("EmoCLIP", "emoclip", PUBLISHED_EMOCLIP),
    "emoclip-downstream": Family("EmoCLIP, downstream", "emoclip", PUBLISHED_EMOCLIP),
}


def untold(family: Family) -> tuple[str, ...]:
    return UNTOLD_OF_EMOCLIP if family.model == "emoclip" else UNTOLD


def adopt(container: dict[str, Any], path: Path, given: dict[str, Any]) -> tuple[dict[str, Any], Published]:
    """``(a checkpoint of ours, what became of its keys)``."""
    state = container["state_dict"] if isinstance(container.get("state_dict"), dict) else container
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    report = sort_published(tensors)
    if report is None:
        first = ", ".join(str(key)[:40] for key in list(state)[:3]) or "nothing"
        raise UserError(
            f"{path}: no checkpoint layout that is known here (it holds {first} ...); a CLIP alone goes to --clip-path"
        )
    report.unexpected += [str(key) for key in state if key not in tensors]
    require_whole(report, path, given)
    if report.token_embedding is not None and len(report.token_embedding) != VOCABULARY:
        raise UserError(f"{path}: a token embedding of {len(report.token_embedding)} rows, expected {VOCABULARY}")
    family = FAMILIES[report.family]
    shape = shape_of(report.model, "image_encoder.", "text_encoder.")
    make = _adopt_emoclip if family.model == "emoclip" else _adopt_clip_caer
    told, classes, unnamed = make(report, shape, given)
    told |= {"image_size": shape.image_size, "clip_path": path.name, "exper_name": path.stem}
    chosen = {name: given[name] for name in untold(family) if name in given}
    config = Config(**resolve(GROUPS, PUBLISHED_PIXELS | family.recipe | told, chosen))
    epoch = container.get("epoch")
    content = {
        "format": FORMAT,
        "family": family.model,
        "config": asdict(config),
        "classes": list(classes.names),
        "label_base": classes.label_base,
        "clip_shape": shape.as_dict(),
        "model": report.model,
        "epoch": epoch if isinstance(epoch, int) else 0,
        "selected_on": "not known: a published file (the published scripts choose on test)",
    }
    if report.missing:
        content["partial"] = [report.ours[key] for key in report.missing]
    if unnamed is not None:
        content["unnamed"] = unnamed
    return content, report


def require_whole(report: Published, path: Path, given: dict[str, Any]) -> None:
    """Nothing missing, nothing unknown, copies equal: or the user says that it may be so."""
    faults = {
        "lacks": report.missing,
        "holds unknown keys": report.unexpected,
        "holds two unequal copies of": report.differing,
        "has layers that this project does not have:": report.unsupported,
    }
    found = [f"{what} {_some(keys)}" for what, keys in faults.items() if keys]
    if found and not given.get("allow_partial"):
        raise UserError(
            f"{path}: {FAMILIES[report.family].title}, but it {'; it '.join(found)} (--allow-partial takes what fits)"
        )


def _adopt_clip_caer(
    report: Published, shape: ClipShape, given: dict[str, Any]
) -> tuple[dict[str, Any], Classes, str | None]:
    """Prompts and end-of-text positions by exact look-up; the hand-written view through the text tower."""
    model = report.model
    start, context, text = model["prompts.start"], model["prompts.context"], model["prompts.text"]
    R, contexts, embedding = len(text), context.shape[-2], report.token_embedding
    prompts = recover_texts(text, embedding, 0)
    report.prompts = prompts.texts
    model["prompts.end"] = prompts.end + 1 + contexts
    model["prompts.text_lengths"] = prompts.lengths
    if report.hand_crafted is None:
        filler = embedding[:1].expand(R, contexts, -1)  # behind the end of text: no result depends on it
        embedded, ends = torch.cat([start, text, filler], dim=1), prompts.end + 1
    else:
        view = recover_texts(report.hand_crafted, embedding, 1)
        report.descriptive, embedded, ends = view.texts, report.hand_crafted, view.end
    ensemble = given.get("text_type", FAMILIES[report.family].recipe.get("text_type")) == "prompt_ensemble"
    C = len(embedded) if report.hand_crafted is not None else R
    classes, unnamed = name_classes(C, given, report.family)
    if ensemble and report.hand_crafted is None and R % len(classes) == 0:
        C, unnamed = len(classes), None
    features = encode_embedded(model, shape, embedded, ends)
    model["descriptive"] = features.view(C, -1, features.shape[-1])
    told = {
        "contexts_number": contexts,
        "class_specific_contexts": context.dim() == 3,
        "num_segments": _frames(model),
        "temporal_layers": count_blocks(model, "face_temporal.blocks."),
    }
    if R > C:  # the published code leaves the instance-enhanced classifier out of an ensemble
        told |= {"text_type": "prompt_ensemble", "slerp_weight": 0.0}
    return told, classes if unnamed is None else numbered(C), unnamed


def _adopt_emoclip(
    report: Published, shape: ClipShape, given: dict[str, Any]
) -> tuple[dict[str, Any], Classes, str | None]:
    """The classes are whatever texts the user names: the model compares videos with any text."""
    told: dict[str, Any] = {}
    positions = report.model.get("temporal.positions")
    if positions is not None and given.get("num_segments", 1) >= positions.shape[1]:
        raise UserError(f"--num-segments {given['num_segments']}: the file has positions of {positions.shape[1] - 1}")
    head = report.model.get("readout.2.weight")
    if report.token_embedding is None:
        outputs = f"{len(head)} numbers" if head is not None else "features"
        reason = f"it gives {outputs}, not classes: there is no text tower in it to compare videos with"
        return told, numbered(1), reason
    classes = load_classes(given.get("dataset", "RAER"), given.get("class_texts"))
    texts = classes.texts_of(given.get("text_type", "class_descriptor"))
    report.prompts = [text for row in texts for text in row]
    report.model["tokens"] = class_tokens(texts)
    report.model["token_embedding"] = report.token_embedding
    return told, classes, None


def name_classes(count: int, given: dict[str, Any], family: str) -> tuple[Classes, str | None]:
    classes = load_classes(given.get("dataset", "RAER"), given.get("class_texts"))
    if len(classes) == count:
        order = classes.format.order if family == "dfer-clip" else None  # its lists of MAFW count in their own order
        names = classes.names if order is None else tuple(classes.names[label] for label in order)
        return replace(classes, names=names), None
    return classes, (
        f"it knows {count} classes, {classes.source} has {len(classes)}: "
        f"name its own with --dataset or --class-texts FILE"
    )


def numbered(count: int) -> Classes:
    return Classes(tuple(f"class {number}" for number in range(1, count + 1)), 0, {}, "")


@torch.no_grad()
def encode_embedded(model: dict[str, Tensor], shape: ClipShape, embedded: Tensor, end: Tensor) -> Tensor:
    """(N, 77, W) → unit features (N, D), by the file's own text tower."""
    tower = TextTower(shape)
    own = {key.removeprefix("text_encoder."): value for key, value in model.items() if key.startswith("text_encoder.")}
    tower.load_state_dict(own)
    return F.normalize(tower(embedded, end), dim=-1)


def _frames(model: dict[str, Tensor]) -> int:
    return model["face_temporal.positions"].shape[1] - ("face_temporal.class_token" in model)


def _some(keys: list[str], most: int = 6) -> str:
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
