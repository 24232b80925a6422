"""Opening a checkpoint, whoever wrote it: what it holds, how it is run, and the model in it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from engine.config import make_config
from engine.methods import method_named
from engine.methods.base import Method
from engine.model import rebuild_model
from engine.options import GROUPS, Config, group_of, names_with, options_by_name, value_of
from engine.registry import method_names
from models.clip_backbone import load_clip
from models.clip_towers import ClipShape, shape_of
from utils.checkpoint import hash_tensors, read_checkpoint, to_full
from utils.config import flag_of, from_json, resolve, written
from utils.errors import UserError, about, first_line

if TYPE_CHECKING:
    from models.published import Published

CLASS_BUFFERS = (  # say which classes a model knows: never taken from another model
    "tokens", "parts", "descriptive", "prompts.end", "prompts.text_lengths", "prompts.text", "prompts.start",
)  # fmt: skip
FIRST_METHOD = "clip-caer"  # of the files of the first version, which do not name theirs
KEYS = {  # of a checkpoint of ours, and their types
    "format": int,
    "family": str,
    "config": dict,
    "classes": list,
    "label_base": int,
    "model": dict,
    "epoch": int,
    "selected_on": str,
}


@dataclass
class Opened:
    """An open checkpoint: its content in our format, and for a published file what became of its keys."""

    path: Path
    content: dict[str, Any]
    report: "Published | None" = None

    @property
    def method(self) -> Method:
        return method_named(self.content["family"])

    @property
    def unnamed(self) -> str | None:
        """Why the classes have no names, where they have none."""
        return self.content.get("unnamed")

    @property
    def config(self) -> Config:
        """The stored options; those that came with a later version have their defaults."""
        return stored_config(self.content)

    @property
    def shape(self) -> ClipShape:
        return stored_shape(self.content, self.content["model"])

    def load(self, flags: dict[str, Any]) -> tuple[Config, nn.Module]:
        """Return the options of the model, below what the user named, and the model."""
        with about(self.path):
            config = model_config(self.content, flags)
            return config, rebuild(self.content, config)


def open_checkpoint(path: Path, flags: dict[str, Any]) -> Opened:
    """Open a checkpoint of ours, or a published one, which is completed by what is known of its layout."""
    content = read_checkpoint(path)
    if "format" in content and "config" in content:
        return Opened(path, check_content(content, path))
    from engine.published import adopt  # here: a training needs nothing of published files

    try:
        with about(path):
            return Opened(path, *adopt(content, path, flags))
    except UserError:
        raise
    except (KeyError, RuntimeError, IndexError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: a published checkpoint whose tensors do not fit together ({first_line(error)})"
        ) from None


def check_content(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Check that every key that evaluation reads is there and has its type; return the content."""
    content = {"family": FIRST_METHOD} | content
    for key, kind in KEYS.items():
        if key not in content:
            raise UserError(f"{path}: not a checkpoint of this project (lacks {key})")
        if not isinstance(content[key], kind):
            raise UserError(f"{path}: damaged: {key} is {type(content[key]).__name__}, expected {kind.__name__}")
    if not isinstance(content.get("trained_on", ""), str):
        raise UserError(f"{path}: damaged: what it was trained on is no text")
    width = content.get("face_width", 1.0)
    if not isinstance(width, float) or not 0 < width < float("inf"):
        raise UserError(f"{path}: damaged: the width of its faces is no number of pixels")
    if content["family"] not in method_names():
        raise UserError(f"{path}: a model of the family {content['family'][:40]!r}, which this version does not know")
    if not content["classes"] or not all(isinstance(name, str) for name in content["classes"]):
        raise UserError(f"{path}: damaged: the class names are not texts")
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content["model"].items()):
        raise UserError(f"{path}: damaged: its model is no table of tensors")
    with about(path):
        stored_config(content)
    return content


def stored_config(content: dict[str, Any]) -> Config:
    return Config(**resolve(GROUPS, from_json(GROUPS, content["config"])))


def stored_shape(content: dict[str, Any], state: dict[str, Tensor]) -> ClipShape:
    """Return the sizes of the CLIP: from the tensors, or from a last.pt, which leaves frozen towers out."""
    try:
        if "left_out" in content:
            return ClipShape(**content["clip_shape"])
        return shape_of(state, "image_encoder.", "text_encoder.")
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"the checkpoint holds no image tower ({first_line(error)})") from None


def evaluation_config(content: dict[str, Any], flags: dict[str, Any], mode: str = "eval") -> Config:
    """Return the checkpoint's options, below what the user named; in zero-shot the classes and their texts are new."""
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
    if (
        mode in ("eval", "attention", "export")
        and "class_texts" in flags
        and flags["class_texts"] != stored["data"]["class_texts"]
    ):
        raise UserError(
            "--class-texts: a checkpoint holds its own prompts; new texts need training or --mode zero-shot"
        )
    overrides = {name: value for name, value in flags.items() if name != "files"}
    return make_config(overrides | {"mode": mode}, layer)


def model_config(content: dict[str, Any], flags: dict[str, Any]) -> Config:
    """Return the options of the model alone, as for an export: no list is read, so no file of boxes is asked for."""
    return evaluation_config(content, flags, mode="export")


def is_pack_lost(pack: str | None, flags: dict[str, Any]) -> bool:
    """Return whether the model was trained from a pack that is not here; frames are as good."""
    return "pack" not in flags and pack is not None and not Path(pack).exists()


def doubtful_flags(opened: Opened, flags: dict[str, Any], config: Config) -> list[str]:
    """Return warnings on options that a checkpoint does not read, or was not trained with."""
    stored, warnings = opened.config, []
    dataset, clip_path = stored.data.dataset, stored.model.clip_path
    for name in names_with(checkpoint="warn"):
        before = value_of(stored, name)
        if name in flags and flags[name] != before:
            warnings.append(f"{flag_of(name)} {flags[name]}: trained with {before}, so this scores another model")
    if flags.get("clip_path", clip_path) != clip_path and "left_out" not in opened.content:
        warnings.append("--clip-path is not read: the checkpoint holds its own weights")
    if flags.get("dataset", dataset) != dataset:
        warnings.append(f"trained on {dataset}: lists of {flags['dataset']} are read by the names of the classes")
    if is_pack_lost(stored.data.pack, flags):
        warnings.append(f"trained from the pack {stored.data.pack}, which is not here: frames are decoded instead")
    if "bounding_box_body" in flags and not config.data.crop_body:
        warnings.append(
            "--bounding-box-body is not used: trained on whole frames (--crop-body would change what it sees)"
        )
    return warnings


def rebuild(content: dict[str, Any], config: Config) -> nn.Module:
    """Return the model in ``content``, its sizes from its tensors."""
    name = content["family"]
    if method_named(name).reads_features:
        return rebuild_model(name, None, to_full(content["model"]), config)
    state = frozen_towers(content, config) | to_full(content["model"])
    return rebuild_model(name, stored_shape({}, state), state, config, may_lack=content.get("partial", ()))


def frozen_towers(content: dict[str, Any], config: Config) -> dict[str, Tensor]:
    """Return the frozen towers that a last.pt does not repeat, from the CLIP that it was trained with."""
    hashes = content.get("left_out")
    if not hashes:
        return {}
    clip, state = load_clip(config.model.clip_path, stored_config(content).run.seed), {}
    parts = {
        "image_encoder": {f"image_encoder.{name}": value for name, value in clip.visual.state_dict().items()},
        "text_encoder": {f"text_encoder.{name}": value for name, value in clip.text.state_dict().items()},
        "token_embedding": {"token_embedding": clip.token_embedding.weight.detach()},
    }
    for part, tensors in parts.items():
        if part not in hashes:
            continue
        if hash_tensors({name.removeprefix(f"{part}."): value for name, value in tensors.items()}) != hashes[part]:
            raise UserError(f"--clip-path {config.model.clip_path}: not the CLIP that this checkpoint was trained with")
        state |= tensors
    return state


def initial_weights(model: nn.Module, config: Config) -> str:
    """Load every tensor of ``--init-from`` that fits into a new model; return a line on what was taken."""
    path, current = Path(config.model.init_from), model.state_dict()
    opened = open_checkpoint(path, {"dataset": config.data.dataset, "class_texts": config.data.class_texts})
    fitting = {
        key: value.to(current[key].dtype)
        for key, value in opened.content["model"].items()
        if key in current and value.shape == current[key].shape and key not in CLASS_BUFFERS
    }
    if not any("temporal" in key for key in fitting):
        raise UserError(f"--init-from {path}: no temporal transformer of this model's size in it")
    model.load_state_dict(fitting, strict=False)
    missing = sorted({key.split(".")[0] for key in current if key not in fitting})
    return (
        f"--init-from {path}: {len(fitting)} tensors taken; not in it, or of another shape: "
        f"{', '.join(missing) or 'none'}"
    )
