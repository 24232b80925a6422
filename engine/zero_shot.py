"""``--mode zero-shot``: score plain CLIP, or a model trained on captions, on classes that it was not trained on."""

from pathlib import Path
from typing import Any

from torch import nn

from dataloader.classes import Classes
from engine.checkpoints import Opened, evaluation_config, naming_stored_files, open_checkpoint, rebuild
from engine.evaluate import score_test_list
from engine.lists import require_lists, run_classes
from engine.methods import method_named
from engine.methods.base import ClipTask
from engine.model import load_fitting_clip
from engine.options import Config
from engine.session import open_session
from models.build import class_tokens, encode_classes, parts_matrix
from models.classifiers import ZeroShotClip
from utils.errors import UserError, about


def zero_shot(config: Config, flags: dict[str, Any]) -> dict[str, Any]:
    """Score ``--test-annotation`` with the class texts of ``--text-type``; return the metrics."""
    path, method = config.run.eval_checkpoint, method_named(config.model.model)
    if path is None and not method.reads_lists(config):
        lists = ", or name a list: --test-annotation FILE" if "clip lists" in method.reads else ""
        raise UserError(f"--model {method.name}: plain CLIP is scored on a list of clips; leave --model out{lists}")
    require_lists(config)
    opened = None if path is None else open_checkpoint(Path(path), flags)
    config, classes, model = plain_clip(config) if opened is None else caption_model(opened, flags)
    width = None if opened is None else opened.content.get("face_width")
    reading = None if opened is None else naming_stored_files(opened.path, config, flags)
    with open_session(config) as session:
        task = ClipTask(model.to(session.device), classes.names)
        return score_test_list(task, config, classes, session, "nothing (zero-shot)", face_width=width, reading=reading)


def plain_clip(config: Config) -> tuple[Config, Classes, nn.Module]:
    """Return options, classes, and a model that compares CLIP's own image and text features."""
    classes, clip = run_classes(config), load_fitting_clip(config)
    texts = encode_classes(clip, classes.texts_of(config.model.text_type))
    parts = parts_matrix(classes.parts)
    return config, classes, ZeroShotClip(clip.visual, texts, temperature=config.model.temperature, parts=parts)


def caption_model(opened: Opened, flags: dict[str, Any]) -> tuple[Config, Classes, nn.Module]:
    """Return options, classes, and the caption model of a checkpoint with the texts of these classes."""
    path, content = opened.path, opened.content
    if opened.config.model.task == "regression":
        raise UserError(
            f"{path}: predicts numbers, not classes (--mode eval scores it; zero-shot takes a caption model)"
        )
    # A last.pt does not hold a frozen text tower, which is then loaded from --clip-path.
    has_texts = "text_encoder.ln_final.weight" in content["model"] or "text_encoder" in content.get("left_out", ())
    if not opened.method.takes_any_texts or not has_texts:
        raise UserError(f"{path}: has fixed classes; --mode eval scores it (zero-shot takes a caption model)")
    options = {"exper_name": f"{opened.config.run.exper_name}-zero-shot"} | flags
    with about(path):
        config = evaluation_config(content, options, mode="zero-shot")
        classes = run_classes(config)
        model = rebuild(content, config)
    model.set_classes(class_tokens(classes.texts_of(config.model.text_type)), parts_matrix(classes.parts))
    return config, classes, model
