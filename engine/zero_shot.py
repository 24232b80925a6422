"""``--mode zero-shot``: CLIP's own image and text features, no training."""

from dataclasses import asdict
from typing import Any

from dataloader.classes import load_classes
from engine.data import evaluation_loader, make_views, read_splits
from engine.device import choose_amp, choose_device, seed_everything
from engine.evaluate import score_and_write
from engine.options import Config
from engine.tasks import ClipCaerTask
from engine.train import load_fitting_clip
from models.build import encode_classes
from models.zero_shot import ZeroShotClip
from utils.runlog import open_run


def zero_shot(config: Config) -> dict[str, Any]:
    """Score plain CLIP on ``--test-annotation`` with the class texts of ``--text-type``."""
    device, device_warning = choose_device(config.run.device, config.run.gpu)
    amp, amp_warning = choose_amp(config.optim.amp, device)
    seed_everything(config.run.seed, config.run.deterministic)
    classes = load_classes(config.data.dataset, config.data.class_texts)
    clip = load_fitting_clip(config)
    texts = encode_classes(clip, classes.texts_of(config.model.text_type))
    model = ZeroShotClip(clip.visual, texts, temperature=config.model.temperature).to(device)
    log = open_run(config.run.output_dir, config.run.exper_name, asdict(config))
    try:
        for warning in filter(None, (device_warning, amp_warning)):
            log.warn(warning)
        clips = read_splits(config, classes, log).test
        views = make_views(config, clips, log)
        loader = evaluation_loader(config, clips, views, device.type == "cuda")
        task = ClipCaerTask(model, classes.names)
        return score_and_write(task, loader, device, config, amp, log, "nothing (zero-shot)", "test")
    finally:
        log.close()
