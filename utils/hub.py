"""Folders of the Hugging Face hub: which of their files are read here, and how ``hf-hub:ORG/NAME`` becomes a folder."""

from pathlib import Path

from utils.errors import UserError, first_line

HUB = "hf-hub:"
OPEN_CLIP_CONFIG, HUGGING_FACE_CONFIG, PREPROCESSOR = "open_clip_config.json", "config.json", "preprocessor_config.json"
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
HUGGING_FACE_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# A checkpoint of this project has the config and the weights of a Hugging Face model, and its classes beside them.
CONFIG, CLASSES, WEIGHTS, CARD = HUGGING_FACE_CONFIG, "classes.json", HUGGING_FACE_WEIGHTS[0], "README.md"


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder, or a name of the hub, which stands for one."""
    return path.is_dir() or (str(path).startswith(HUB) and not path.exists())


def local_folder(path: Path) -> Path:
    """Return the folder that ``path`` names: itself, or for ``hf-hub:ORG/NAME`` the one in the hub's cache."""
    return path if path.is_dir() else hub_folder(str(path), str(path))


def hub_folder(name: str, source: str) -> Path:
    """Return the folder of ``hf-hub:ORG/NAME`` in the cache of huggingface_hub, downloaded where it is not there.

    ``source`` begins the errors.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UserError(f"{source}: needs huggingface_hub (pip install huggingface_hub)") from None
    configs = [OPEN_CLIP_CONFIG, HUGGING_FACE_CONFIG, PREPROCESSOR, CLASSES]
    try:
        folder = Path(snapshot_download(name.removeprefix(HUB), allow_patterns=configs))
        weights = OPEN_CLIP_WEIGHTS if (folder / OPEN_CLIP_CONFIG).is_file() else HUGGING_FACE_WEIGHTS
        return Path(snapshot_download(name.removeprefix(HUB), allow_patterns=[*configs, *weights]))
    except Exception as error:  # of the network, the name or a gated model: huggingface_hub has a dozen kinds
        raise UserError(f"{source}: cannot be downloaded ({first_line(error)}); name a local folder instead") from None
