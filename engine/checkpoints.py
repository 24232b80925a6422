"""Open a checkpoint of this project or a published one: its content, its options and its model."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

import torch
from torch import Tensor, nn

from analysis.calibration import StoredCalibration
from dataloader.classes import Classes, list_classes, load_classes
from engine.config import make_config
from engine.methods import method_named
from engine.methods.base import Method
from engine.model import rebuild_model
from engine.options import GROUPS, Config, DataOptions, group_of, names_with, options_by_name, value_of
from engine.registry import method_names
from models.clip_backbone import load_clip
from models.clip_towers import ClipShape, shape_of
from models.lora import is_lora, merge_lora
from utils.checkpoint import FORMAT, advice_on_folder, hash_tensors, read_checkpoint, to_full
from utils.config import flag_of, from_json, resolve, written
from utils.errors import UserError, about, first_line
from utils.hub import CONFIG, is_folder
from utils.json_files import AnyNumber, Range, check_type

if TYPE_CHECKING:
    from models.published import Published

CLASS_BUFFERS = (  # tensors that define the classes of a model; never loaded from another model
    "tokens", "parts", "descriptive", "prompts.end", "prompts.text_lengths", "prompts.text", "prompts.start",
)  # fmt: skip
FIRST_METHOD = "clip-caer"  # of files of the first version, which do not name a method
NAMES_SHOWN = 3  # names of tensors in the summary of --init-from
MAX_NAMES = 10_000  # classes
MAX_LOG_SCALE = 20.0  # cosines multiplied by more than e ** 20 overflow or leave one class a probability of 1


class StoredContent(TypedDict):
    """A checkpoint of ours. Numbers have bounds that no run reaches, so that a damaged file cannot start endless work.

    ``model`` is a table of tensors, and ``config`` is read by ``stored_config``.
    """

    format: Annotated[int, Range(1, FORMAT)]
    family: str
    config: dict[str, Any]
    classes: list[str]
    label_base: Annotated[int, Range(0, 1000)]
    model: dict[str, Any]
    epoch: Annotated[int, Range(0, 10**6)]
    selected_on: str
    best: NotRequired[dict[str, AnyNumber]]
    clip_shape: NotRequired[dict[str, Annotated[int, Range(0, 10**5)] | str | list[float]]]
    trained_on: NotRequired[str]
    face_width: NotRequired[Annotated[float, Range(1e-3, 1e5)]]
    unnamed: NotRequired[str]
    partial: NotRequired[list[str]]
    thresholds: NotRequired[list[Annotated[float, Range(0, 1)]]]
    calibration: NotRequired[StoredCalibration]
    left_out: NotRequired[dict[str, str]]
    averaged: NotRequired[list[str]]


KEYS = tuple(name for name in StoredContent.__annotations__ if name in StoredContent.__required_keys__)


@dataclass
class Opened:
    """An open checkpoint: its content in our format, and for a published file a report on its keys."""

    path: Path
    content: dict[str, Any]
    report: "Published | None" = None

    @property
    def method(self) -> Method:
        return method_named(self.content["family"])

    @property
    def unnamed(self) -> str | None:
        """The reason if the classes have no names, else None."""
        return self.content.get("unnamed")

    @property
    def config(self) -> Config:
        """The stored options; those that came with a later version have their defaults."""
        return stored_config(self.content)

    @property
    def shape(self) -> ClipShape:
        return stored_shape(self.content, self.content["model"])

    def load(self, flags: dict[str, Any]) -> tuple[Config, nn.Module]:
        """Return the model and its options; options that the user passed win over stored ones."""
        with about(self.path):
            config = model_config(self.content, flags)
            return config, rebuild(self.content, config)


def open_checkpoint(path: Path, flags: dict[str, Any]) -> Opened:
    """Open a checkpoint of ours, or a published one, which is completed with what is known about its layout."""
    content = read_checkpoint(path)
    if "format" in content and "config" in content:
        with advice_on_folder(path):
            return Opened(path, check_content(content, path / CONFIG if is_folder(path) else path))
    from engine.published import adopt  # imported here, since training does not need it

    try:
        with about(path):
            opened = Opened(path, *adopt(content, path, flags))
            require_sane_scale(opened.content["model"])
            return opened
    except UserError:
        raise
    except (KeyError, RuntimeError, IndexError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: a published checkpoint whose tensors do not fit together ({first_line(error)})"
        ) from None


def check_content(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Check that every key that evaluation reads is there and has its type; return the content."""
    content = {"family": FIRST_METHOD} | content
    for key in KEYS:
        if key not in content:
            raise UserError(f"{path}: not a checkpoint of this project (lacks {key})")
    check_type(content, StoredContent, f"{path}: damaged")
    if content["family"] not in method_names():
        raise UserError(f"{path}: a model of the family {content['family'][:40]!r}, which this version does not know")
    repeated = [name for name, count in Counter(content["classes"]).items() if count > 1]
    if repeated or not 0 < len(content["classes"]) <= MAX_NAMES:
        fault = f"two classes are called {repeated[0][:60]}" if repeated else f"{len(content['classes'])} class names"
        raise UserError(f"{path}: damaged: {fault}")
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content["model"].items()):
        raise UserError(f"{path}: damaged: its model is no table of tensors")
    with about(path):
        model = stored_config(content).model.model
        if model != content["family"]:
            raise UserError(f"damaged: a model of the family {content['family']}, but its options say --model {model}")
        require_sane_scale(content["model"])
    return content


def require_sane_scale(state: dict[str, Tensor]) -> None:
    """Check the logit scale, the logarithm of the factor of cosines: a wrong one makes all logits useless."""
    scale = state.get("logit_scale")
    if scale is not None and not (scale.abs() <= MAX_LOG_SCALE).all():  # also where it is not a number
        raise UserError(f"damaged: its logit_scale is {scale.flatten()[0].item():g}; CLIP trains up to 4.6")


def stored_config(content: dict[str, Any]) -> Config:
    """Return the stored options; those that came with a later version have the defaults of the method."""
    layer = from_json(GROUPS, content["config"])
    return Config(**resolve(GROUPS, method_named(layer.get("model", FIRST_METHOD)).defaults, layer))


def stored_shape(content: dict[str, Any], state: dict[str, Tensor]) -> ClipShape:
    """Return the sizes of the CLIP: from the tensors, or as stored where the file leaves towers out."""
    try:
        stored = ClipShape(**content["clip_shape"]) if content.get("clip_shape") else None
        if "left_out" in content and stored is not None:
            return stored
        settings = {} if stored is None else stored.settings
        shape = shape_of(state, "image_encoder.", "text_encoder.", **settings)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"the checkpoint holds no image tower ({first_line(error)})") from None
    for name, size in ({} if stored is None else stored.as_dict()).items():
        is_known = shape.text_width or not name.startswith("text")  # some models leave the text tower out
        if is_known and size != getattr(shape, name):
            raise UserError(f"the checkpoint says {name} {size}, its tensors have {getattr(shape, name)}")
    return shape


def evaluation_config(content: dict[str, Any], flags: dict[str, Any], mode: str = "eval") -> Config:
    """Return the options of a checkpoint, overridden by ``flags``; in zero-shot the classes and their texts are new."""
    stored, facts = asdict(stored_config(content)), options_by_name()
    layer = {group: values for group, values in stored.items() if group != "run"}
    if flags.get("dataset", stored["data"]["dataset"]) != stored["data"]["dataset"]:
        layer["data"] = layer["data"] | dict.fromkeys(names_with(of_dataset=True))
        if stored["model"]["streams"] == "face":
            layer["data"]["crop_body"] = False
    if mode == "zero-shot":
        layer["data"] = layer["data"] | {"leave_out": None}
    if is_pack_lost(stored["data"]["pack"], flags):
        layer["data"] = layer["data"] | {"pack": None}
    for name in sorted(flags, key=lambda name: name not in ("model", "task")):  # the others follow from these
        fixed = facts[name].metadata["checkpoint"]
        if fixed == "fixed" or (fixed == "fixed classes" and mode != "zero-shot"):
            before = stored[group_of(name)][name]
            if flags[name] != before:
                raise UserError(
                    f"{flag_of(name)} {written(flags[name])}: this checkpoint was trained with {written(before)}"
                )
    if mode in ("eval", "attention", "export") and "class_texts" in flags:
        require_same_texts(stored_config(content).data, flags["class_texts"])
    overrides = {name: value for name, value in flags.items() if name != "files"}
    return make_config(overrides | {"mode": mode}, layer)


def stored_texts(data: DataOptions) -> Classes | None:
    """Return the classes and texts that a model was trained with; None if their file no longer exists here."""
    is_gone = data.class_texts is not None and not Path(data.class_texts).is_file()
    return None if is_gone else list_classes(data.dataset, data.class_texts)


def require_same_texts(data: DataOptions, file: str) -> None:
    """Raise a UserError if ``--class-texts`` names other texts than those of the training, wherever the file is."""
    before, now = stored_texts(data), load_classes(data.dataset, file)
    if before is None or not before.entries.items() <= now.entries.items():
        source = data.class_texts or f"those of {data.dataset}"
        raise UserError(
            f"--class-texts {file}: a checkpoint has fixed prompts, here of {source}"
            f"{', which is gone' if before is None else ''}; leave it out (new texts need training or --mode zero-shot)"
        )


@contextmanager
def naming_stored_files(path: Path, config: Config, flags: Mapping[str, Any]) -> Iterator[None]:
    """Add to a UserError raised inside which of the paths in it the checkpoint says, and not the user."""
    try:
        yield
    except UserError as error:
        files = {name: getattr(config.data, name) for name in ("root_dir", *names_with(below_root=True))}
        stored = {n: file for n, file in files.items() if file and n not in flags and names_path(str(error), file)}
        if not stored:
            raise
        words = ", ".join(f"{flag_of(name)} {file}" for name, file in stored.items())
        raise UserError(f"{error} ({path} says {words}; name your own)") from None


def names_path(text: str, path: str) -> bool:
    """Return whether a text holds ``path``, alone or as the start or the end of a longer path."""
    return re.search(rf"(?<![\w.-]){re.escape(str(Path(path)))}(?=[/:;,)\s]|$)", text) is not None


def model_config(content: dict[str, Any], flags: dict[str, Any]) -> Config:
    """Return only the options of the model, as for an export: no list is read, so no file of boxes is needed."""
    return evaluation_config(content, flags, mode="export")


def is_pack_lost(pack: str | None, flags: dict[str, Any]) -> bool:
    """Return whether the model was trained from a pack that is not here; then frames are decoded instead."""
    return "pack" not in flags and pack is not None and not Path(pack).exists()


def doubtful_flags(opened: Opened, flags: dict[str, Any], config: Config) -> list[str]:
    """Return warnings about options that a checkpoint does not read, or was not trained with."""
    stored, warnings = opened.config, []
    dataset, clip_path = stored.data.dataset, stored.model.clip_path
    for name in names_with(checkpoint="warn"):
        before = value_of(stored, name)
        if name in flags and flags[name] != before:
            warnings.append(f"{flag_of(name)} {flags[name]}: trained with {before}, so this is another model")
    if flags.get("clip_path", clip_path) != clip_path and not opened.content.get("left_out"):
        warnings.append("--clip-path is not read: the checkpoint holds all weights")
    if flags.get("dataset", dataset) != dataset:
        warnings.append(f"trained on {dataset}: classes of {flags['dataset']} are matched by their names")
    if is_pack_lost(stored.data.pack, flags):
        warnings.append(f"trained from the pack {stored.data.pack}, which is not here: frames are decoded instead")
    if "bounding_box_body" in flags and not config.data.crop_body:
        warnings.append(
            "--bounding-box-body is not used: trained on whole frames (--crop-body would change what it sees)"
        )
    return warnings


def rebuild(content: dict[str, Any], config: Config) -> nn.Module:
    """Return the model in ``content``; its sizes follow from its tensors."""
    name, classes = content["family"], None if "unnamed" in content else len(content["classes"])
    if method_named(name).reads_features:
        return rebuild_model(name, None, to_full(content["model"]), config)
    state = whole_state(content, config)
    shape = stored_shape({"clip_shape": content.get("clip_shape")}, state)
    may_lack = content.get("partial", ())
    return rebuild_model(name, shape, state, config, classes=classes, may_lack=may_lack)


def whole_state(content: dict[str, Any], config: Config) -> dict[str, Tensor]:
    """Return all tensors of a model in float32, with the towers that its checkpoint leaves out."""
    return frozen_towers(content, config) | to_full(content["model"])


def frozen_towers(content: dict[str, Any], config: Config) -> dict[str, Tensor]:
    """Return the towers that the checkpoint leaves out, from the CLIP that it was trained with."""
    hashes = content.get("left_out")
    if not hashes:
        return {}
    stored, options = stored_config(content), config.model
    clip = load_clip(options.clip_path, stored.run.seed, options.clip_activation, options.clip_head_width)
    state: dict[str, Tensor] = {}
    parts = {
        "image_encoder": {f"image_encoder.{name}": value for name, value in clip.visual.state_dict().items()},
        "text_encoder": {f"text_encoder.{name}": value for name, value in clip.text.state_dict().items()},
        "token_embedding": {"token_embedding": clip.token_embedding.weight.detach()},
    }
    for part, tensors in parts.items():
        if part not in hashes:
            continue
        if hash_tensors({name.removeprefix(f"{part}."): value for name, value in tensors.items()}) != hashes[part]:
            raise UserError(
                f"--clip-path {config.model.clip_path}: not the CLIP that this checkpoint was trained with, whose "
                f"{part.replace('_', ' ')} it needs; name that one"
            )
        state |= tensors
    return state


def initial_weights(model: nn.Module, config: Config, names: tuple[str, ...]) -> list[str]:
    """Load every tensor of ``--init-from`` that fits into a new model; return a summary, then a line on each tensor.

    If the file has positions for more frames, the first ones are used, which belong to the first frames of a clip. LoRA
    in the file is added to its weights, unless the new model has LoRA of the same size in the same layers. The linear
    layer of single frames is used only for the same classes; ``names`` are those of the new model.
    """
    path, current = Path(config.model.init_from), model.state_dict()
    texts = {"dataset": config.data.dataset, "class_texts": config.data.class_texts}
    opened = open_checkpoint(path, texts | {"allow_partial": config.run.allow_partial})
    with about(path):
        stored, taken = whole_state(opened.content, with_clip_at_hand(opened.config, config)), {}
    if not has_same_lora(stored, opened.config, current, config):
        stored = merge_lora(stored, opened.config.optim.lora_alpha)
    has_other_classes = tuple(opened.content["classes"]) != names
    fates: dict[str, list[str]] = {"taken": [], "cut": [], "left": []}
    align_positions(stored, current)
    for key, tensor in current.items():
        value, size = stored.get(key), tensor.shape
        if value is None or key in CLASS_BUFFERS or (key.startswith("readout") and has_other_classes):
            fates["left"].append(f"{key} ({'not in it' if value is None else 'of its classes'})")
        elif value.shape == size:
            taken[key] = value.to(tensor.dtype)
            fates["taken"].append(key)
        elif key.endswith("positions") and value.shape[0::2] == size[0::2] and value.shape[1] > size[1]:
            taken[key] = value[:, : size[1]].to(tensor.dtype)
            fates["cut"].append(f"{key} (the first {size[1]} of {value.shape[1]})")
        else:
            fates["left"].append(f"{key} ({tuple(value.shape)} in it)")
    has_transformers = all(any("temporal" in key for key in state) for state in (stored, current))
    part, title = ("temporal", "temporal transformer") if has_transformers else ("image_encoder.", "image tower")
    if not any(part in key for key in fates["taken"] + fates["cut"]):
        raise UserError(f"--init-from {path}: no {title} of this model's size in it; name another checkpoint")
    model.load_state_dict(taken, strict=False)
    cut = f"; cut: {', '.join(fates['cut'])}" if fates["cut"] else ""
    summary = (
        f"--init-from {path}: {len(taken)} tensors taken{cut}; not in it, or of another shape: {_some(fates['left'])}"
    )
    if opened.config.data.normalize != config.data.normalize:
        summary += f"; it was trained with --normalize {opened.config.data.normalize}, not {config.data.normalize}"
    return [summary, *(f"  {fate:<6} {name}" for fate, names in fates.items() for name in names)]


def with_clip_at_hand(stored: Config, config: Config) -> Config:
    """Return the stored options, with the CLIP of ``config`` where the stored one is a file that is gone."""
    names = ("clip_path", "clip_activation", "clip_head_width")
    is_gone = Path(stored.model.clip_path).suffix and not Path(stored.model.clip_path).exists()
    clip = {name: getattr(config.model, name) for name in names} if is_gone else {}
    return replace(stored, model=replace(stored.model, **clip))


def align_positions(stored: dict[str, Tensor], current: Mapping[str, Tensor]) -> None:
    """Make the stored positions of frames those of a model with a class token, or of one without.

    The first position belongs to the class token, if there is one. A new model's class token keeps its own.
    """
    for positions in [name for name in stored if name.endswith("positions") and name in current]:
        token = positions.replace("positions", "class_token")
        if token in stored and token not in current:
            stored[positions] = stored[positions][:, 1:]
        elif token in current and token not in stored and stored[positions].shape[2] == current[positions].shape[2]:
            stored[positions] = torch.cat([current[positions][:, :1], stored[positions]], dim=1)


def has_same_lora(
    stored: dict[str, Tensor], stored_options: Config, current: dict[str, Tensor], config: Config
) -> bool:
    """Return whether the corrections of two models are in the same layers, of the same size and multiplied alike."""
    shapes = [{name: state[name].shape for name in state if is_lora(name)} for state in (stored, current)]
    return shapes[0] == shapes[1] and (not shapes[0] or stored_options.optim.lora_alpha == config.optim.lora_alpha)


def _some(names: list[str]) -> str:
    """Return a text with the parts of a model that tensors belong to, and the first of their names."""
    parts = sorted({name.split(".")[0].split(" ")[0] for name in names})
    listed = ", ".join(names[:NAMES_SHOWN]) + (
        f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    )
    return f"{', '.join(parts)} ({listed})" if names else "none"
