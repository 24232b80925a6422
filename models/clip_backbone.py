"""Every way to get a CLIP, and its tokenizer: the only file that knows openai-clip."""

from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from models.clip_towers import TEXT_LENGTH, Clip, ClipShape, shape_of
from models.initialization import SkipInit, seeded
from utils.archive import read_archive
from utils.compat import allow_imports
from utils.errors import UserError, closest, first_line

RANDOM = "random"  # a tiny untrained CLIP: shows that everything runs, knows nothing
RANDOM_SHAPE = ClipShape(64, 64, 16, 64, 2, 64, 2)


def load_clip(name: str, seed: int = 0) -> Clip:
    """Return the CLIP of an OpenAI name or a local file, or a ``random`` one, which alone depends on ``seed``."""
    if name == RANDOM:
        with seeded(seed):
            return Clip(RANDOM_SHAPE)
    return clip_from_state(read_archive(find_clip(name)), f"--clip-path {name}")


def clip_from_state(state: Any, source: str) -> Clip:
    """Return the CLIP of an OpenAI archive, of a plain state dict, or of a safetensors file."""
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{source}: not a CLIP: expected a state dict of tensors")
    try:
        shape = shape_of(state)
        if not shape.text_width:
            raise KeyError("ln_final.weight")
        with SkipInit():
            clip = Clip(shape)
        clip.load_openai(state)
    except (KeyError, ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"{source}: not a CLIP with a ViT image tower ({first_line(error)})") from None
    return clip


def find_clip(name: str) -> Path:
    """Return the file of a CLIP; an OpenAI name is downloaded once to ~/.cache/clip."""
    path = Path(name)
    if path.is_file():
        return path
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


def save_clip(clip: Clip, path: Path) -> None:
    """Write half-precision safetensors under OpenAI's names."""
    from safetensors.torch import save_file

    save_file({key: value.half().contiguous() for key, value in clip.openai_state().items()}, path)


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
    """Return (N, 77) ids, and how many texts are longer than that and lose their end."""
    tokens, cut = _import_clip().tokenize(texts, truncate=True).long(), 0
    for text, row in zip(texts, tokens, strict=True):
        # a full row may also be a text that fits exactly: only encoding it again tells
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
