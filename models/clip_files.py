"""Recognise the CLIP in a file or folder: its tensors under OpenAI's names, its settings and their origins."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import torch
from torch import Tensor

from models.clip_towers import ACTIVATIONS, TEXT_LENGTH, VOCABULARY, ClipShape
from utils.archive import read_archive
from utils.errors import UserError, first_line
from utils.hub import (
    HUGGING_FACE_CONFIG,
    HUGGING_FACE_WEIGHTS,
    OPEN_CLIP_CONFIG,
    OPEN_CLIP_WEIGHTS,
    PREPROCESSOR,
)
from utils.json_files import Range, check_type, read_json

OPEN_CLIP = "open_clip:"
CONFIGS = (OPEN_CLIP_CONFIG, HUGGING_FACE_CONFIG, PREPROCESSOR)
ARCHIVE_SIZES = ("input_resolution", "context_length", "vocab_size")  # only in OpenAI's archives
WIDEST = 1024  # OpenAI's widest image tower: all of its heads are 64 wide
OTHER_MODELS = (  # part of a tensor's name that identifies another kind of model
    ("logit_bias", "a SigLIP"), ("vision_model.head.", "a SigLIP"), ("text_decoder.", "a CoCa"),
    ("visual.blocks.", "an EVA-CLIP"), ("visual.trunk.", "a CLIP with an image tower of timm"),
    ("visual.attnpool.", "a CLIP with a ResNet image tower, not a ViT"), ("visual.attn_pool.", "a CoCa"),
    ("text.transformer.", "an open_clip model with a separate text tower (custom_text)"),
)  # fmt: skip
Size = Annotated[int, Range(1, 10**5)]
Numbers = tuple[float, float, float]


class OpenClipTower(TypedDict):
    width: NotRequired[Size]
    layers: NotRequired[Size]
    patch_size: NotRequired[Size]
    image_size: NotRequired[Size]
    head_width: NotRequired[Size]
    heads: NotRequired[Size]
    context_length: NotRequired[Size]
    vocab_size: NotRequired[Size]


class OpenClipModel(TypedDict):
    embed_dim: Size
    quick_gelu: NotRequired[bool]
    vision_cfg: dict[str, Any]
    text_cfg: dict[str, Any]


class OpenClipPixels(TypedDict):
    mean: NotRequired[Numbers]
    std: NotRequired[Numbers]


class HuggingFaceTower(TypedDict):
    hidden_act: NotRequired[str]
    hidden_size: NotRequired[Size]
    num_attention_heads: NotRequired[Size]
    num_hidden_layers: NotRequired[Size]
    image_size: NotRequired[Size]
    patch_size: NotRequired[Size]
    layer_norm_eps: NotRequired[float]


class HuggingFacePixels(TypedDict):
    image_mean: NotRequired[Numbers]
    image_std: NotRequired[Numbers]


@dataclass(frozen=True)
class ClipContent:
    """``state`` has OpenAI's names. ``settings``: fields of ClipShape that the tensors do not show; ``sizes``: fields
    that they do show and a config states too; ``origins``: where each setting comes from."""

    kind: str
    state: dict[str, Tensor]
    settings: dict[str, Any]
    sizes: dict[str, int]
    origins: dict[str, str]


def read_clip(path: Path, source: str, activation: str | None = None, head_width: int | None = None) -> ClipContent:
    """Return the CLIP of a file or folder. ``activation`` and ``head_width`` are the user's flags."""
    config, weights = files_of(path, source)
    return recognise(read_archive(weights), source, weights, config, activation, head_width)


def files_of(path: Path, source: str) -> tuple[Path | None, Path]:
    """Return the paths of the config, if ``path`` is a folder, and of the weights."""
    if not path.is_dir():
        return None, path
    for config, names in ((OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS), (HUGGING_FACE_CONFIG, HUGGING_FACE_WEIGHTS)):
        weights = next((path / name for name in names if (path / name).is_file()), None)
        if weights is not None and (path / config).is_file():
            return path / config, weights
    raise UserError(
        f"{source}: a folder without a CLIP: expected {OPEN_CLIP_CONFIG} with {' or '.join(OPEN_CLIP_WEIGHTS)}, "
        f"or {HUGGING_FACE_CONFIG} with {' or '.join(HUGGING_FACE_WEIGHTS)}"
    )


def recognise(
    content: Any,
    source: str,
    weights: Path | None,
    config: Path | dict[str, Any] | None = None,
    activation: str | None = None,
    head_width: int | None = None,
) -> ClipContent:
    """Return the CLIP in the content of a file. A config beside ``weights`` is read if ``config`` is None."""
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):  # FaRL, trainings of open_clip
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{source}: not a CLIP: expected a state dict of tensors")
    state = {str(name): value for name, value in content.items()}
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    for part, title in OTHER_MODELS:
        if any(part in name for name in state):
            raise UserError(f"{source}: {title}; --clip-path takes only CLIPs with a ViT and CLIP's own text tower")
    is_hugging_face = any(name.startswith("vision_model.") for name in state)
    if config is None and weights is not None:
        beside = weights.parent / (HUGGING_FACE_CONFIG if is_hugging_face else OPEN_CLIP_CONFIG)
        config = beside if beside.is_file() else None
    flags = {"activation": activation, "image_head": head_width}
    flags = {name: value for name, value in flags.items() if value is not None}
    if is_hugging_face:
        kind, state = "Hugging Face CLIPModel", openai_names(state, source)
        settings, sizes, origins = hugging_face_settings(config, source) if config else ({}, {}, {})
    elif set(ARCHIVE_SIZES) <= state.keys():
        kind, settings, sizes, origins = "OpenAI archive", *openai_settings("the archive's form")
    elif config is not None:
        kind, (settings, sizes, origins) = "open_clip", open_clip_settings(config, source)
    elif is_openai(state):
        kind, settings, sizes, origins = "OpenAI's layout", *openai_settings("half-precision weights of OpenAI's form")
    else:
        kind, settings, sizes, origins = "OpenAI's names", {}, {}, {}
    for name, value in flags.items():
        flag = "--clip-activation" if name == "activation" else "--clip-head-width"
        if settings.get(name, value) != value:
            raise UserError(f"{source}: {flag} {value}, but {origins[name]} says {settings[name]}; leave the flag out")
        settings, origins = settings | {name: value}, {name: flag} | origins
    if "activation" not in settings:
        beside = HUGGING_FACE_CONFIG if is_hugging_face else OPEN_CLIP_CONFIG
        raise UserError(
            f"{source}: the activation and head width of this CLIP are unknown; put its {beside} beside it, or pass "
            f"--clip-activation {{{','.join(ACTIVATIONS)}}} (and --clip-head-width N if heads are not 64 wide)"
        )
    width = state["visual.conv1.weight"].shape[0] if getattr(state.get("visual.conv1.weight"), "ndim", 0) else 0
    if "image_head" not in settings and width > WIDEST:
        raise UserError(f"{source}: the image tower is {width} wide; pass --clip-head-width N (80 for ViT-H/14)")
    require_text_size(state, source)
    return ClipContent(kind, state, settings, sizes, origins)


def is_clip(content: dict[str, Any]) -> bool:
    """Return whether the content of a file is only a CLIP, under OpenAI's or Hugging Face's names."""
    names = content.get("state_dict", content)
    names = {str(name).removeprefix("module.") for name in names} if isinstance(names, dict) else set()
    return bool({"visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"} & names)


def is_openai(state: dict[str, Tensor]) -> bool:
    """Return whether weights are stored like OpenAI's: in half precision and not wider."""
    weight = state.get("visual.conv1.weight")
    return weight is not None and weight.dtype == torch.float16 and weight.ndim == 4 and weight.shape[0] <= WIDEST


def openai_settings(origin: str) -> tuple[dict[str, Any], dict[str, int], dict[str, str]]:
    settings = {"activation": "quick-gelu", "image_head": 64, "text_head": 64}
    return settings, {}, dict.fromkeys(settings, origin)


def require_text_size(state: dict[str, Tensor], source: str) -> None:
    """Check that the sizes fit OpenAI's tokenizer, the only one that is supported."""
    for name, size, title in (
        ("positional_embedding", TEXT_LENGTH, "a context length"),
        ("token_embedding.weight", VOCABULARY, "a vocabulary"),
    ):
        tensor = state.get(name)
        if tensor is not None and (tensor.ndim == 0 or tensor.shape[0] != size):
            length = tensor.shape[0] if tensor.ndim else 0
            raise UserError(f"{source}: {title} of {length}; only OpenAI's tokenizer is supported, which has {size}")


def open_clip_settings(
    config: Path | dict[str, Any], source: str
) -> tuple[dict[str, Any], dict[str, int], dict[str, str]]:
    """Return settings, sizes and origins from an open_clip config, of a hub folder or of a model."""
    where = str(config) if isinstance(config, Path) else source
    content = read_json(config, dict[str, Any]) if isinstance(config, Path) else config
    model = check_type(content.get("model_cfg", content), OpenClipModel, where)
    pixels = check_type(content.get("preprocess_cfg", {}), OpenClipPixels, where)
    if "multimodal_cfg" in model or "init_logit_bias" in model:
        raise UserError(f"{where}: {'a CoCa' if 'multimodal_cfg' in model else 'a SigLIP'}, not a CLIP of this form")
    fields = {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"}
    refuse_unknown({key: value for key, value in model.items() if key not in fields}, where)
    vision, text = model["vision_cfg"], model["text_cfg"]
    for tower in (vision, text):
        refuse_unknown({k: v for k, v in tower.items() if k not in OpenClipTower.__annotations__}, where)
        check_type(tower, OpenClipTower, where)
    text_width, heads = text.get("width", 512), text.get("heads", 8)
    if text_width % heads:
        raise UserError(f"{where}: a text tower of {text_width} cannot be divided into {heads} heads")
    settings = {
        "activation": "quick-gelu" if model.get("quick_gelu") else "gelu",
        "image_head": vision.get("head_width", 64),
        "text_head": text_width // heads,
    } | {name: tuple(pixels[key]) for name, key in (("mean", "mean"), ("deviation", "std")) if key in pixels}
    sizes = {
        "embed_dim": model["embed_dim"],
        "image_size": vision.get("image_size", 224),
        "patch_size": vision.get("patch_size", 16),
        "image_width": vision.get("width", 768),
        "image_layers": vision.get("layers", 12),
        "text_width": text_width,
        "text_layers": text.get("layers", 12),
    }
    return settings, sizes, dict.fromkeys(settings, where)


NEUTRAL = {  # keys of open_clip's towers with values that do not change a CLIP
    "mlp_ratio": 4.0, "pool_type": ("tok", "argmax"), "pos_embed_type": "learnable", "patch_dropout": None,
    "output_tokens": None, "proj_type": "linear", "pad_id": None, "eos_id": None, "attn_pooler_queries": None,
    "attn_pooler_heads": None, "timm_pool": None, "timm_proj": None, "timm_drop": None, "hf_model_pretrained": None,
    "hf_proj_type": None, "hf_pooler_type": None,
}  # fmt: skip


def refuse_unknown(settings: dict[str, Any], where: str) -> None:
    """Raise a UserError for a setting that changes what a CLIP computes."""
    for key, value in settings.items():
        neutral = NEUTRAL.get(key, False)
        values = neutral if isinstance(neutral, tuple) else (neutral,)
        if value is None or value is False or neutral is None or value in values:
            continue
        raise UserError(f"{where}: {key[:60]} {str(value)[:60]}: not a CLIP of this form (ViT and CLIP's text tower)")


def hugging_face_settings(
    config: Path | dict[str, Any], source: str
) -> tuple[dict[str, Any], dict[str, int], dict[str, str]]:
    """Return settings, sizes and origins from a Hugging Face config; missing keys have the defaults of that format."""
    where = str(config) if isinstance(config, Path) else source
    content = read_json(config, dict[str, Any]) if isinstance(config, Path) else config
    if content.get("model_type") != "clip":
        raise UserError(f"{where}: a model of the type {str(content.get('model_type'))[:60]!r}; expected 'clip'")
    towers = []
    for part, width, heads in (("vision", 768, 12), ("text", 512, 8)):
        layers = [
            check_type(content.get(f"{part}_config{end}") or {}, HuggingFaceTower, where) for end in ("", "_dict")
        ]
        usual = {"hidden_act": "quick_gelu", "hidden_size": width, "num_attention_heads": heads}
        towers.append(usual | {"num_hidden_layers": 12, "layer_norm_eps": 1e-5} | layers[0] | layers[1])
    vision, text = towers
    names = {"quick_gelu": "quick-gelu", "gelu": "gelu"}
    for tower in towers:
        if tower["hidden_act"] not in names or tower["hidden_act"] != vision["hidden_act"]:
            raise UserError(
                f"{where}: hidden_act {tower['hidden_act'][:40]!r}; expected quick_gelu or gelu in both towers"
            )
        if tower["layer_norm_eps"] != 1e-5:
            raise UserError(f"{where}: layer_norm_eps {tower['layer_norm_eps']}; only CLIP's 1e-05 is supported")
        if tower["hidden_size"] % tower["num_attention_heads"]:
            raise UserError(
                f"{where}: {tower['hidden_size']} cannot be divided into {tower['num_attention_heads']} heads"
            )
    settings: dict[str, Any] = {
        "activation": names[vision["hidden_act"]],
        "image_head": vision["hidden_size"] // vision["num_attention_heads"],
        "text_head": text["hidden_size"] // text["num_attention_heads"],
    }
    origins = dict.fromkeys(settings, where)
    beside = config.parent / PREPROCESSOR if isinstance(config, Path) else None
    if beside is not None and beside.is_file():
        pixels = read_json(beside, HuggingFacePixels)
        for name, key in (("mean", "image_mean"), ("deviation", "image_std")):
            if key in pixels:
                settings[name], origins[name] = tuple(pixels[key]), str(beside)
    sizes = {
        "image_size": vision.get("image_size", 224),
        "patch_size": vision.get("patch_size", 32),
        "image_width": vision["hidden_size"],
        "image_layers": vision["num_hidden_layers"],
        "text_width": text["hidden_size"],
        "text_layers": text["num_hidden_layers"],
    }
    return settings, sizes, origins


HUGGING_FACE_NAMES = (  # Hugging Face's name → OpenAI's
    ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    ("vision_model.embeddings.patch_embedding.", "visual.conv1."),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    ("vision_model.pre_layrnorm.", "visual.ln_pre."),
    ("vision_model.post_layernorm.", "visual.ln_post."),
    ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
    ("text_model.embeddings.token_embedding.", "token_embedding."),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_model.encoder.layers.", "transformer.resblocks."),
    (".self_attn.out_proj.", ".attn.out_proj."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
)


def openai_names(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return the tensors of a Hugging Face CLIPModel under OpenAI's names; query, key and value are joined."""
    renamed: dict[str, Tensor] = {}
    try:
        for name, value in state.items():
            if name.endswith("position_ids"):  # 0, 1, 2 ..., not a weight
                continue
            if name in ("visual_projection.weight", "text_projection.weight"):
                renamed["visual.proj" if name.startswith("visual") else "text_projection"] = value.T.contiguous()
                continue
            if ".self_attn.k_proj." in name or ".self_attn.v_proj." in name:
                continue
            new = name
            for part, replacement in HUGGING_FACE_NAMES:
                new = new.replace(part, replacement)
            if ".self_attn.q_proj." in name:
                new = new.replace(".self_attn.q_proj.", ".attn.in_proj_")
                value = torch.cat([state[name.replace(".q_proj.", f".{letter}_proj.")] for letter in "qkv"])
            renamed[new] = value
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{source}: not a complete Hugging Face CLIPModel ({first_line(error)})") from None
    return renamed


def require_config_sizes(content: ClipContent, shape: ClipShape, source: str) -> None:
    """Check that a config and the tensors have the same sizes."""
    for name, size in content.sizes.items():
        if size != getattr(shape, name):
            where = content.origins["activation"]
            raise UserError(f"{source}: {where} says {name} {size}, the tensors have {getattr(shape, name)}")
