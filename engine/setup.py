"""What training starts from: the CLIP, and the model built on it with its frozen parts frozen."""

from dataloader.classes import Classes
from engine.optim import set_trainable
from engine.options import Config
from models.build import build_clip_caer
from models.clip_backbone import load_clip
from models.clip_caer import ClipCaer
from models.clip_towers import Clip
from utils.errors import UserError


def build_model(config: Config, classes: Classes) -> tuple[ClipCaer, dict[str, int]]:
    """The model, and the sizes of its CLIP."""
    clip, texts = load_fitting_clip(config), classes.texts_of(config.model.text_type)
    model = build_clip_caer(
        clip,
        texts,
        classes.texts_of("descriptive") if needs_descriptive_texts(config) else texts,
        config.model,
        max_frames=config.data.num_segments * config.data.duration,
        seed=config.run.seed,
    )
    set_trainable(model, config.optim, config.model.tune_prompts)
    return model, clip.shape.as_dict()


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
