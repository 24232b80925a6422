"""Opening a checkpoint, whoever wrote it: what it holds, how it is run, and the model in it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine.adopt import adopt
from engine.options import GROUPS, Config
from engine.settings import make_config
from models.clip_backbone import load_clip
from models.clip_towers import ClipShape, shape_of
from models.published import Published
from models.rebuild import REBUILDERS, rebuild_model
from utils.checkpoint import hash_tensors, read_checkpoint, to_full
from utils.config import flag_of, from_json, resolve, written
from utils.errors import UserError, about, first_line

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
BUILT_IN = (  # options that a checkpoint's tensors were made with, the telling ones first; they stay
    ("model", "model"),
    ("model", "task"),
    ("data", "num_segments"),
    ("data", "duration"),
    ("data", "image_size"),
    ("model", "text_type"),
    ("model", "temporal_layers"),
    ("model", "contexts_number"),
    ("model", "class_token_position"),
    ("model", "class_specific_contexts"),
    ("model", "adapter"),
    ("model", "streams"),
    ("model", "swapped_heads"),
    ("sequence", "tcn"),
    ("sequence", "tcn_channels"),
    ("sequence", "transformer"),
    ("sequence", "transformer_layers"),
    ("sequence", "causal"),
    ("sequence", "positions"),
)
BUILT_IN_FOR_ANY_TEXT = (("data", "image_size"), ("model", "model"), ("model", "swapped_heads"))
OF_ITS_DATA = (  # stored options that say nothing of another data set
    "train_annotation", "val_annotation", "test_annotation", "captions", "bounding_box_face", "bounding_box_body",
    "class_texts", "leave_out", "fold", "pack",
)  # fmt: skip
CHANGES_MEANING = {  # options that evaluation may change, but not unsaid
    "data": ("normalize", "crop_body", "missing_face"),
    "model": ("slerp_weight", "iec_text", "temperature", "adapter_ratio"),
}


@dataclass
class Opened:
    """``content``: a checkpoint of ours; ``report``: what became of a published file's keys."""

    path: Path
    content: dict[str, Any]
    report: Published | None = None

    @property
    def unnamed(self) -> str | None:
        """Why the classes have no names, where they have none."""
        return self.content.get("unnamed")

    @property
    def config(self) -> Config:
        """Its options, those of a later version at their defaults."""
        return stored_config(self.content)

    @property
    def shape(self) -> ClipShape:
        return stored_shape(self.content, self.content["model"])


def open_checkpoint(path: Path, given: dict[str, Any]) -> Opened:
    """A checkpoint of ours as it is; a published one sorted and completed from the recipe of its family."""
    content = read_checkpoint(path)
    if "format" in content and "config" in content:
        return Opened(path, check_content(content, path))
    try:
        with about(path):
            return Opened(path, *adopt(content, path, given))
    except UserError:
        raise
    except (KeyError, RuntimeError, IndexError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: a published checkpoint whose tensors do not fit together ({first_line(error)})"
        ) from None


def check_content(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Every key that evaluation reads is there and of its type."""
    content = {"family": "clip-caer"} | content  # the only family of files without the key
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
    if content["family"] not in REBUILDERS:
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
    """From the tensors; a last.pt leaves frozen towers out and says their sizes."""
    try:
        if "left_out" in content:
            return ClipShape(**content["clip_shape"])
        return shape_of(state, "image_encoder.", "text_encoder.")
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"the checkpoint holds no image tower ({first_line(error)})") from None


def evaluation_config(content: dict[str, Any], given: dict[str, Any], mode: str = "eval") -> Config:
    """The checkpoint's own options, below what the user gave; in zero-shot the classes and their texts are new."""
    stored = asdict(stored_config(content))
    kept = {group: values for group, values in stored.items() if group != "run"}
    if given.get("dataset", stored["data"]["dataset"]) != stored["data"]["dataset"]:
        kept["data"] = kept["data"] | dict.fromkeys(OF_ITS_DATA)
        if stored["model"]["streams"] == "face":
            kept["data"]["crop_body"] = False
    if mode == "zero-shot":
        kept["data"] = kept["data"] | {"leave_out": None}
    if lost_pack(stored, given):
        kept["data"] = kept["data"] | {"pack": None}
    for group, name in BUILT_IN_FOR_ANY_TEXT if mode == "zero-shot" else BUILT_IN:
        if name in given and given[name] != stored[group][name]:
            yours, its_own = written(given[name]), written(stored[group][name])
            raise UserError(f"{flag_of(name)} {yours}: this checkpoint was trained with {its_own}")
    named = {name: value for name, value in given.items() if name != "files"} | {"mode": mode}
    config = make_config({"eval_checkpoint": "-"} | named, kept)
    if (
        mode in ("eval", "attention", "export")
        and "class_texts" in given
        and given["class_texts"] != stored["data"]["class_texts"]
    ):
        raise UserError(
            "--class-texts: a checkpoint holds its own prompts; new texts need training or --mode zero-shot"
        )
    return config


def model_config(content: dict[str, Any], given: dict[str, Any]) -> Config:
    """The same for its model alone, as an export is: lists are not read, so no file of their boxes is asked for."""
    return evaluation_config(content, given, mode="export")


def lost_pack(stored: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether it was trained from a pack that is not here: frames are as good."""
    pack = stored["data"]["pack"]
    return "pack" not in given and pack is not None and not Path(pack).exists()


def doubtful_flags(
    stored: dict[str, Any], given: dict[str, Any], config: Config, reads_clip: bool = False
) -> list[str]:
    """What the user named that a checkpoint does not read, or was not trained with."""
    said = []
    for group, names in CHANGES_MEANING.items():
        for name in set(names) & set(given):
            if given[name] != stored[group][name]:
                trained = f"trained with {stored[group][name]}"
                said.append(f"{flag_of(name)} {given[name]}: {trained}, so this scores another model")
    if given.get("clip_path", stored["model"]["clip_path"]) != stored["model"]["clip_path"] and not reads_clip:
        said.append("--clip-path is not read: the checkpoint holds its own weights")
    if given.get("dataset", stored["data"]["dataset"]) != stored["data"]["dataset"]:
        said.append(
            f"trained on {stored['data']['dataset']}: lists of {given['dataset']} are read by the names of the classes"
        )
    if lost_pack(stored, given):
        said.append(f"trained from the pack {stored['data']['pack']}, which is not here: frames are decoded instead")
    if "bounding_box_body" in given and not config.data.crop_body:
        said.append("--bounding-box-body is not used: trained on whole frames (--crop-body would change what it sees)")
    return said


def rebuild(content: dict[str, Any], config: Config) -> nn.Module:
    """The model in ``content``, its sizes from its tensors."""
    if content["family"] == "sequence":
        return rebuild_model("sequence", None, to_full(content["model"]), config)
    state = left_out(content, config) | to_full(content["model"])
    shape = stored_shape({}, state)
    return rebuild_model(content["family"], shape, state, config.model, may_lack=content.get("partial", ()))


def left_out(content: dict[str, Any], config: Config) -> dict[str, Tensor]:
    """The frozen towers that a last.pt does not repeat, from the CLIP that it was trained with."""
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
