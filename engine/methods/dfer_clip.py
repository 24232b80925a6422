"""DFER-CLIP: only the face stream of CLIP-CAER, compared with learnable prompts."""

from dataloader.classes import Classes
from engine.methods.base import (
    AUGMENTATION_PARTS,
    AVERAGE_PART,
    CLASS_SIZE_PARTS,
    CLIP_OPTIONS,
    LORA_PART,
    MIXUP_PART,
    ONE_STREAM,
    POOL_PART,
    PublishedLayout,
)
from engine.methods.clip_caer import PROMPT_PART, TARGET_PARTS, ClipCaer
from engine.registry import register


class DferClip(ClipCaer):
    name = "dfer-clip"
    summary = "one stream of faces through CLIP, learnable prompts (DFER-CLIP)"
    defaults = ONE_STREAM | {"dropout": 0.0, "temperature": 0.01, "contexts_number": 8}
    reads = CLIP_OPTIONS | {"prompts", "class losses", "class weights"}
    parts = (
        POOL_PART,
        PROMPT_PART,
        LORA_PART,
        AVERAGE_PART,
        *CLASS_SIZE_PARTS,
        *TARGET_PARTS,
        *AUGMENTATION_PARTS,
        MIXUP_PART,
    )
    published = {"dfer-clip": PublishedLayout("DFER-CLIP", defaults)}

    def published_names(self, classes: Classes) -> tuple[str, ...]:
        """Return the class names; the published lists of MAFW number its classes in another order."""
        order = classes.format.order
        return classes.names if order is None else tuple(classes.names[label] for label in order)


register(DferClip())
