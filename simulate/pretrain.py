"""``--mode pretrain-clip``: a small CLIP from scratch, on drawn students and captions of what is seen."""

import math
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.device import to_pixels
from engine.options import Config
from engine.session import Session, open_session
from models.clip_backbone import save_clip, tokenize
from models.clip_towers import Clip, ClipShape, ImageTower
from simulate.captions import describe_face, describe_scene
from simulate.still_batches import Stills, centre_crop, draw_stills, random_crop, shuffled_pairs
from utils.errors import UserError, reason_of
from utils.runlog import progress_bar

MINI = ClipShape(
    embed_dim=128, image_size=112, patch_size=16, image_width=256, image_layers=3, text_width=64, text_layers=2
)
FACE_ATTRIBUTES = ("mouth", "brows", "eyes", "gaze", "head", "glasses")  # what a face crop shows
FACE_LATENTS = (
    "brow_raise", "brow_furrow", "brow_tilt", "eyelid", "gaze_x", "gaze_y", "smile", "mouth_open", "mouth_press",
    "yaw", "pitch", "roll",
)  # fmt: skip
UNSAID = ("hair", "clothes")  # no caption mentions them
HELD_OUT = 1024
WARMUP_STEPS = 100
MAX_SCALE = math.log(100)


class Teacher(nn.Module):
    """Linear read-outs of what was drawn, words and latent numbers, on the image feature; thrown away after training.

    Contrast alone starts slowly: in the first thousand steps nothing tells the image tower what captions talk about.
    """

    def __init__(self, words: dict[str, list[str]], latents: list[str], width: int) -> None:
        super().__init__()
        self.words, self.latents = words, latents
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(known)) for name, known in words.items()})
        self.numbers = nn.Linear(width, len(latents))

    def forward(self, feature: Tensor, stills: Stills, chosen: np.ndarray) -> Tensor:
        """The mean loss over words plus the mean squared error over numbers, for the stills at ``chosen``."""
        losses = []
        for name, known in self.words.items():
            target = torch.tensor([known.index(stills.attributes[i][name]) for i in chosen], device=feature.device)
            losses.append(F.cross_entropy(self.heads[name](feature), target))
        drawn = torch.from_numpy(np.stack([stills.latents[name][chosen] for name in self.latents], axis=1))
        return torch.stack(losses).mean() + F.mse_loss(self.numbers(feature), drawn.to(feature.device))


def start_from_patches(tower: ImageTower, pictures: np.ndarray) -> None:
    """The patch layer begins as the whitened principal components of drawn patches.

    At a random start a patch says little beyond its mean colour, and thin strokes such as brows come in late.
    """
    width, _, side, _ = tower.conv1.weight.shape
    patches = F.unfold(to_pixels(torch.from_numpy(pictures), "clip"), side, stride=side).transpose(1, 2).flatten(0, 1)
    centred = patches - patches.mean(dim=0)
    variance, directions = torch.linalg.eigh((centred.T @ centred / len(centred)).double())
    variance, directions = variance.flip(0)[:width].float(), directions.flip(1)[:, :width].float()
    filters = (directions / (variance + 0.01 * variance.mean()).sqrt()).T
    filters = filters / (centred @ filters.T).std() / 2
    tower.conv1.weight.data.copy_(filters.view_as(tower.conv1.weight))


def pretrain(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """Draw the stills, train, measure retrieval on held-out persons, write the weights."""
    with open_session(config) as session:
        log, count = session.log, config.pretrain.stills + HELD_OUT
        drawing = partial(progress_bar, total=count, label="drawing")
        stills = draw_stills(count, MINI.image_size, config.run.seed, config.run.workers, drawing)
        log.say(f"{count} stills drawn in {time.time() - log.started:.0f} s")
        clip = Pretraining(config, stills, session).run()
        weights = log.folder / "mini_clip.safetensors"
        save_clip(clip, weights)  # first of all
        scores = retrieval(clip, stills, session.device, config.run.seed)
        log.write_metrics(scores | {"seconds": round(time.time() - log.started)})
        log.say(f"held-out persons, {HELD_OUT} of each kind: " + ", ".join(f"{k} {v:.1f}" for k, v in scores.items()))
        log.say(f"weights: {weights} ({weights.stat().st_size / 1e6:.1f} MB)")
        if config.pretrain.clip_out:
            copy_weights(weights, Path(config.pretrain.clip_out))
        return scores


def copy_weights(weights: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, target)
    except OSError as error:
        raise UserError(f"--clip-out {target}: {reason_of(error)}; the weights are in {weights}") from None


class Pretraining:
    def __init__(self, config: Config, stills: Stills, session: Session) -> None:
        self.config, self.stills = config, stills
        self.device, self.amp, self.log = session.device, session.amp, session.log
        device = session.device
        self.clip = Clip(MINI)
        sample = np.concatenate([stills.face[:1000], stills.scene[:1000]])
        start_from_patches(self.clip.visual, centre_crop(sample, MINI.image_size))
        self.clip.to(device).logit_scale.data.fill_(math.log(1 / 0.07))
        words = {n: sorted({a[n] for a in stills.attributes}) for n in stills.attributes[0] if n not in UNSAID}
        seen_in_face = {name: known for name, known in words.items() if name in FACE_ATTRIBUTES}
        self.face_teacher = Teacher(seen_in_face, list(FACE_LATENTS), MINI.embed_dim).to(device)
        self.scene_teacher = Teacher(words, list(stills.latents), MINI.embed_dim).to(device)
        optim = config.optim
        modules = (self.clip, self.face_teacher, self.scene_teacher)
        parameters = [p for module in modules for p in module.parameters()]
        groups = [
            {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": optim.weight_decay},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=optim.lr, betas=(0.9, 0.98), fused=True)
        self.half = optim.batch_size // 2
        self.steps = optim.epochs * (config.pretrain.stills // self.half)
        schedule = lambda step: min((step + 1) / WARMUP_STEPS, (1 + math.cos(math.pi * step / self.steps)) / 2)  # noqa: E731
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, schedule)

    def run(self) -> Clip:
        for epoch in range(self.config.optim.epochs):
            started, sums, steps = time.time(), np.zeros(3), 0
            rng = np.random.default_rng([self.config.run.seed, 4, epoch])
            pairs = list(shuffled_pairs(self.config.pretrain.stills, self.half, rng))
            for faces, scenes in progress_bar(pairs, len(pairs), f"epoch {epoch + 1}/{self.config.optim.epochs}"):
                sums += self.step(faces, scenes, rng)
                steps += 1
            contrast, taught, accuracy = sums / steps
            seconds = time.time() - started
            self.log.epoch({"epoch": epoch + 1, "train/contrast": contrast, "train/taught": taught})
            self.log.say(
                f"epoch {epoch + 1:>2}: contrast {contrast:.3f}, taught {taught:.3f}, "
                f"own caption found {accuracy:.1f} % of {2 * self.half}   ({seconds:.0f} s)"
            )
        return self.clip.eval()

    def step(self, faces: np.ndarray, scenes: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
        """Faces and scenes in one batch, each to find its own caption among all."""
        stills, size = self.stills, MINI.image_size
        pictures = np.concatenate([stills.face[faces], stills.scene[scenes]])
        seen = [stills.attributes[i] for i in faces], [stills.attributes[i] for i in scenes]
        captions = [describe_face(a, rng) for a in seen[0]] + [describe_scene(a, rng) for a in seen[1]]
        image = to_pixels(torch.from_numpy(random_crop(pictures, size, rng)).to(self.device), "clip")
        image = image * (1 + 0.2 * jitter(len(image), self.device)) + 0.25 * jitter(len(image), self.device)
        with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
            feature = self.clip.visual(image)
            text = self.clip.encode_text(tokenize(captions).to(self.device))
        feature, text = feature.float(), text.float()
        logits = self.clip.logit_scale.exp() * F.normalize(feature, dim=-1) @ F.normalize(text, dim=-1).T
        own = torch.arange(len(logits), device=self.device)
        contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        on_faces = self.face_teacher(feature[: len(faces)], stills, faces)
        taught = (on_faces + self.scene_teacher(feature[len(faces) :], stills, scenes)) / 2
        self.optimizer.zero_grad(set_to_none=True)
        (contrast + self.config.pretrain.attribute_weight * taught).backward()
        self.optimizer.step()
        self.schedule.step()
        self.clip.logit_scale.data.clamp_(max=MAX_SCALE)
        accuracy = (logits.argmax(dim=1) == own).float().mean().item() * 100
        return contrast.item(), taught.item(), accuracy


def jitter(count: int, device: torch.device) -> Tensor:
    """One number in [-1, 1] a picture: contrast and brightness of cameras differ."""
    return 2 * torch.rand(count, 1, 1, 1, device=device) - 1


@torch.inference_mode()
def retrieval(clip: Clip, stills: Stills, device: torch.device, seed: int) -> dict[str, float]:
    """Recall at 1 and 5, in percent, image → caption and back, among the held-out faces and scenes."""
    rng = np.random.default_rng([seed, 5])
    held = slice(len(stills) - HELD_OUT, len(stills))
    scores = {}
    for kind, describe in (("face", describe_face), ("scene", describe_scene)):
        pictures = torch.from_numpy(centre_crop(getattr(stills, kind)[held], MINI.image_size))
        image = torch.cat([clip.visual(to_pixels(part.to(device), "clip")) for part in pictures.split(128)])
        tokens = tokenize([describe(a, rng) for a in stills.attributes[held]])
        text = torch.cat([clip.encode_text(part.to(device)) for part in tokens.split(128)])
        similarity = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        for way, matrix in (("image→text", similarity), ("text→image", similarity.T)):
            rank = (matrix > matrix.diag()[:, None]).sum(dim=1)
            for k in (1, 5):
                scores[f"{kind} {way} R@{k}"] = 100 * (rank < k).float().mean().item()
    return scores
