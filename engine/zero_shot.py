"""``--mode zero-shot``: CLIP's own image and text features, no training."""

from typing import Any

from dataloader.classes import load_classes
from engine.data import require_lists
from engine.evaluate import score_test_list
from engine.options import Config
from engine.session import open_session
from engine.setup import load_fitting_clip
from engine.tasks import ClipCaerTask
from models.build import encode_classes
from models.zero_shot import ZeroShotClip


def zero_shot(config: Config) -> dict[str, Any]:
    """Score plain CLIP on ``--test-annotation`` with the class texts of ``--text-type``."""
    require_lists(config)
    classes = load_classes(config.data.dataset, config.data.class_texts)
    clip = load_fitting_clip(config)
    texts = encode_classes(clip, classes.texts_of(config.model.text_type))
    model = ZeroShotClip(clip.visual, texts, temperature=config.model.temperature)
    with open_session(config) as session:
        task = ClipCaerTask(model.to(session.device), classes.names)
        return score_test_list(task, config, classes, session, "nothing (zero-shot)")
