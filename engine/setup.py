"""What training starts from: the CLIP, and the model built on it with its frozen parts frozen."""

from pathlib import Path

from torch import nn

from dataloader.classes import Classes
from engine.checkpoints import open_checkpoint
from engine.optim import set_trainable
from engine.options import Config
from models.build import build_clip_caer, build_emoclip, build_frame_expression
from models.clip_backbone import load_clip
from models.clip_towers import Clip
from utils.errors import UserError

# buffers that say which classes a model knows: never taken from another
OF_CLASSES = ("tokens", "parts", "descriptive", "prompts.end", "prompts.text_lengths", "prompts.text", "prompts.start")


def build_model(config: Config, classes: Classes) -> tuple[nn.Module, dict[str, int]]:
    """The model, and the sizes of its CLIP."""
    clip = load_fitting_clip(config)
    if config.model.model == "frame-expr":
        model = build_frame_expression(clip, len(classes))
        model.image_encoder.requires_grad_(config.optim.lr_image_encoder > 0)
        return model, clip.shape.as_dict()
    texts = classes.texts_of(config.model.text_type)
    sizes = {"max_frames": config.data.num_segments * config.data.duration, "seed": config.run.seed}
    if config.model.model == "emoclip":
        model = build_emoclip(clip, texts, classes.parts, config.model, **sizes)
    elif classes.parts is not None:
        raise UserError(
            f"--label-type compound needs texts that can be averaged: --model emoclip, not {config.model.model}"
        )
    else:
        descriptive = classes.texts_of("descriptive") if needs_descriptive_texts(config) else texts
        model = build_clip_caer(clip, texts, descriptive, config.model, **sizes)
    set_trainable(model, config.optim, config.model.tune_prompts)
    return model, clip.shape.as_dict()


def take_weights(model: nn.Module, config: Config) -> str:
    """``--init-from``: every tensor of a checkpoint that has a place and the shape of it; what was not taken, said."""
    path = Path(config.model.init_from)
    opened = open_checkpoint(path, {"dataset": config.data.dataset, "class_texts": config.data.class_texts})
    own, found = model.state_dict(), opened.content["model"]
    fitting = {k: v for k, v in found.items() if k in own and v.shape == own[k].shape and k not in OF_CLASSES}
    if not any("temporal" in name for name in fitting):
        raise UserError(f"--init-from {path}: no temporal transformer of this model's size in it")
    model.load_state_dict({name: value.to(own[name].dtype) for name, value in fitting.items()}, strict=False)
    left = sorted({name.split(".")[0] for name in own if name not in fitting})
    return (
        f"--init-from {path}: {len(fitting)} tensors taken; not in it, or of another shape: {', '.join(left) or 'none'}"
    )


def needs_descriptive_texts(config: Config) -> bool:
    in_classifier = config.model.slerp_weight > 0 and config.model.iec_text != "soft"
    return in_classifier or config.loss.mi_loss_weight > 0


def load_fitting_clip(config: Config) -> Clip:
    clip = load_clip(config.model.clip_path, config.run.seed)
    if clip.shape.image_size != config.data.image_size:
        raise UserError(
            f"--image-size {config.data.image_size} does not fit --clip-path {config.model.clip_path}, "
            f"which reads {clip.shape.image_size}; pass --image-size {clip.shape.image_size}"
        )
    return clip
