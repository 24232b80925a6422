"""``--mode zero-shot``: videos compared with the texts of classes that nothing was trained on.

Plain CLIP, or with ``--eval-checkpoint`` a model trained on captions.
"""

from pathlib import Path
from typing import Any

from torch import nn

from dataloader.classes import Classes
from engine.checkpoints import Opened, evaluation_config, open_checkpoint, rebuild
from engine.evaluate import score_test_list
from engine.lists import require_lists, run_classes
from engine.methods.base import ClipTask
from engine.model import load_fitting_clip
from engine.options import Config
from engine.session import open_session
from models.build import class_tokens, encode_classes, parts_matrix
from models.classifiers import ZeroShotClip
from utils.errors import UserError, about


def zero_shot(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """Score on ``--test-annotation`` with the class texts of ``--text-type``."""
    path = config.run.eval_checkpoint
    require_lists(config)
    opened = None if path is None else open_checkpoint(Path(path), given)
    config, classes, model = plain_clip(config) if opened is None else caption_model(opened, given)
    width = None if opened is None else opened.content.get("face_width")
    with open_session(config) as session:
        task = ClipTask(model.to(session.device), classes.names)
        return score_test_list(task, config, classes, session, "nothing (zero-shot)", face_width=width)


def plain_clip(config: Config) -> tuple[Config, Classes, nn.Module]:
    """CLIP's own image and text features, no training."""
    classes, clip = run_classes(config), load_fitting_clip(config)
    texts = encode_classes(clip, classes.texts_of(config.model.text_type))
    parts = parts_matrix(classes.parts)
    return config, classes, ZeroShotClip(clip.visual, texts, temperature=config.model.temperature, parts=parts)


def caption_model(opened: Opened, given: dict[str, Any]) -> tuple[Config, Classes, nn.Module]:
    """A trained model with the texts of the classes that are asked for now."""
    path, content = opened.path, opened.content
    if opened.config.model.task == "regression":
        raise UserError(
            f"{path}: predicts numbers, not classes (--mode eval scores it; zero-shot takes a caption model)"
        )
    if not opened.method.takes_any_texts or "text_encoder.ln_final.weight" not in content["model"] | left_out_names(
        content
    ):
        raise UserError(f"{path}: knows its own classes alone; --mode eval scores it (zero-shot takes a caption model)")
    named = {"exper_name": f"{opened.config.run.exper_name}-zero-shot"} | given
    with about(path):
        config = evaluation_config(content, named, mode="zero-shot")
        classes = run_classes(config)
        model = rebuild(content, config)
    frames = config.data.num_segments * config.data.duration
    if frames > model.temporal.max_frames:
        raise UserError(f"--num-segments: {frames} frames, but {path} has positions for {model.temporal.max_frames}")
    model.set_classes(class_tokens(classes.texts_of(config.model.text_type)), parts_matrix(classes.parts))
    return config, classes, model


def left_out_names(content: dict[str, Any]) -> dict[str, None]:
    """A last.pt leaves a frozen text tower out."""
    return {f"{tower}.ln_final.weight": None for tower in content.get("left_out", ())}
