"""Load a CLIP from any source, and tokenize texts. Only this file uses openai-clip.

It also fixes problems that prevent the import of openai-clip and torchvision with some versions of torch.
"""

import importlib.util
import sys
import types
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.clip_files import OPEN_CLIP, ClipContent, read_clip, recognise, require_config_sizes
from models.clip_towers import TEXT_LENGTH, Clip, ClipShape, UninitialisedWeights, fixed_seed, shape_of
from utils.archive import read_archive, write_safetensors
from utils.errors import UserError, closest, first_line
from utils.hub import HUB, hub_folder

RANDOM = "random"  # a tiny untrained CLIP, for tests that everything runs
RANDOM_SHAPE = ClipShape(64, 64, 16, 64, 2, 64, 2)
_libraries: list[torch.library.Library] = []


def load_clip(name: str, seed: int = 0, activation: str | None = None, head_width: int | None = None) -> Clip:
    """Return the CLIP of a name, a file or a folder, or a ``random`` one; only that one depends on ``seed``.

    ``activation`` and ``head_width``: --clip-activation and --clip-head-width, for files that do not state them.
    """
    if name == RANDOM:
        with fixed_seed(seed):
            return Clip(RANDOM_SHAPE)
    source = f"--clip-path {name}"
    if name.startswith(OPEN_CLIP):
        path, config = open_clip_file(name, source)
        content = recognise(read_archive(path), source, None, config, activation, head_width)
    else:
        content = read_clip(find_clip(name), source, activation, head_width)
    return clip_from_content(content, source)


def clip_from_content(content: ClipContent, source: str) -> Clip:
    """Return the CLIP of a recognised file."""
    try:
        shape = shape_of(content.state, **content.settings)
        if not shape.text_width:
            raise KeyError("ln_final.weight")
        require_config_sizes(content, shape, source)
        with UninitialisedWeights():
            clip = Clip(shape)
        clip.load_openai(content.state)
    except UserError:
        raise
    except (KeyError, ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"{source}: not a CLIP with a ViT image tower ({first_line(error)})") from None
    return clip


def find_clip(name: str) -> Path:
    """Return the file or folder of a CLIP; an OpenAI name is downloaded once to ~/.cache/clip."""
    path = Path(name)
    if path.exists():
        return path
    if name.startswith(HUB):
        return hub_folder(name, f"--clip-path {name}")
    openai_clip = _import_clip()
    names = openai_clip.available_models()
    if name not in names:
        vision_transformers = [model for model in names if model.startswith("ViT")]
        raise UserError(
            f"--clip-path {name}: no such file, and no OpenAI name{closest(name, names)} "
            f"(names: {', '.join(vision_transformers)})"
        )
    try:
        return Path(openai_clip.clip._download(openai_clip.clip._MODELS[name], str(Path.home() / ".cache" / "clip")))
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"--clip-path {name}: cannot be downloaded ({first_line(error)}); name a local file instead"
        ) from None


def open_clip_file(name: str, source: str) -> tuple[Path, dict[str, Any]]:
    """Return the downloaded weights of ``open_clip:MODEL:TAG`` and the config of its model."""
    import_torchvision()
    try:
        import open_clip
    except ImportError:
        raise UserError(f"{source}: needs open_clip_torch (pip install open_clip_torch)") from None
    model, _, tag = name.removeprefix(OPEN_CLIP).partition(":")
    config = open_clip.get_model_config(model)
    if config is None:
        raise UserError(f"{source}: open_clip has no model {model!r}{closest(model, open_clip.list_models())}")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag not in tags:
        raise UserError(f"{source}: {model} has no weights {tag!r} (tags: {', '.join(tags) or 'none'})")
    pretrained = open_clip.pretrained.get_pretrained_cfg(model, tag)
    if pretrained.get("quick_gelu"):  # in open_clip the user chooses this by the model's name
        config = config | {"quick_gelu": True}
    try:
        path = open_clip.pretrained.download_pretrained(pretrained)
    except Exception as error:  # of the network, or of huggingface_hub
        raise UserError(f"{source}: cannot be downloaded ({first_line(error)}); name a local file instead") from None
    pixels = {key: pretrained[key] for key in ("mean", "std") if key in pretrained}
    return Path(path), {"model_cfg": config, "preprocess_cfg": pixels}


def save_clip(clip: Clip, path: Path) -> None:
    """Write half-precision safetensors under OpenAI's names."""
    write_safetensors({key: value.half() for key, value in clip.openai_state().items()}, path)


def tokenize(texts: list[str]) -> Tensor:
    """Return (N, 77) ids; a text that does not fit is an error."""
    try:
        return _import_clip().tokenize(texts).long()
    except RuntimeError:
        longest = max(texts, key=len)
        excerpt = longest if len(longest) < 90 else f"{longest[:30]}...{longest[-55:]}"
        raise UserError(
            f"a class text does not fit into CLIP's 77 tokens: {excerpt!r}; shorten it, or lower --contexts-number"
        ) from None


def tokenize_cut(texts: list[str]) -> tuple[Tensor, int]:
    """Return (N, 77) ids, and the number of texts that are longer and are cut off."""
    tokens, cut = _import_clip().tokenize(texts, truncate=True).long(), 0
    for text, row in zip(texts, tokens, strict=True):
        # a full row may also be a text that fits exactly, so it is encoded again
        cut += bool(row[-1]) and len(_import_clip().clip._tokenizer.encode(text)) > TEXT_LENGTH - 2
    return tokens, cut


def detokenize(ids: list[int]) -> str:
    """Return the text of token ids without start and end, in lower case as CLIP reads it."""
    return _import_clip().clip._tokenizer.decode(ids).strip()


@cache
def _import_clip():
    allow_imports()
    import clip

    return clip


def allow_imports() -> None:
    """Make ``import clip`` possible; call this before the first one. A second call has no effect."""
    provide_pkg_resources()
    import_torchvision()


def import_torchvision() -> None:
    """Import torchvision, even a CUDA build with a CPU build of torch.

    Such a build registers shape rules for the operators ``nms`` and ``qnms``, which do not exist then, so its import
    fails. A schema without an implementation is sufficient, because the two operators are not used here.
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
    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not torch._C._jit_get_schemas_for_operator(f"torchvision::{name}"):
            fragment.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(fragment)  # the schemas of a torch library are removed when it is garbage-collected


def provide_pkg_resources() -> None:
    """Provide the part of pkg_resources that openai-clip 1.0.1 reads, ``packaging``. setuptools 82 has removed it."""
    warnings.filterwarnings("ignore", message=".*pkg_resources is deprecated.*")
    if "pkg_resources" in sys.modules or importlib.util.find_spec("pkg_resources") is not None:
        return
    import packaging.version

    stand_in = types.ModuleType("pkg_resources")
    stand_in.packaging = packaging
    sys.modules["pkg_resources"] = stand_in
