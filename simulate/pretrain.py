"""``--mode pretrain-clip``: train a small CLIP from scratch on drawn students and captions of what is seen."""

import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataloader.crops import crop_context, crop_face, letterbox
from dataloader.transforms import Augmentation, to_square
from engine.device import to_pixels
from engine.options import Config
from engine.session import Session, open_session
from models.clip_backbone import save_clip, tokenize
from models.clip_towers import Clip, ClipShape, ImageTower
from simulate.captions import describe_face, describe_scene
from simulate.stills import draw_still
from utils.errors import UserError, reason_of
from utils.processes import ordered_map
from utils.runlog import progress_bar

MINI = ClipShape(
    embed_dim=128, image_size=112, patch_size=16, image_width=256, image_layers=3, text_width=64, text_layers=2
)
FACE_ATTRIBUTES = ("mouth", "brows", "eyes", "gaze", "head", "glasses")  # what a face crop shows
FACE_LATENTS = (
    "brow_raise", "brow_furrow", "brow_tilt", "eyelid", "gaze_x", "gaze_y", "smile", "mouth_open", "mouth_press",
    "yaw", "pitch", "roll",
)  # fmt: skip
UNMENTIONED = ("hair", "clothes")  # in no caption
HELD_OUT = 1024
WARMUP_STEPS = 100
MAX_SCALE = math.log(100)
MARGIN = 8  # pixels kept around each picture, for random crops
MAX_ANGLE = 4.0


@dataclass(frozen=True)
class Stills:
    """A face crop and a scene of many new persons, with words and numbers for what is seen."""

    face: np.ndarray  # (N, S, S, 3) uint8, S = size + 2 * MARGIN
    scene: np.ndarray
    attributes: list[dict[str, str]]
    latents: dict[str, np.ndarray]  # (N,) each, zero mean and unit deviation


def draw_stills(count: int, size: int, seed: int, workers: int, progress: Callable = iter) -> Stills:
    """Return stills, number ``i`` a pure function of (seed, i); about 100 KB of memory per still at size 112."""
    edge = size + 2 * MARGIN
    face = np.empty((count, edge, edge, 3), dtype=np.uint8)
    scene = np.empty_like(face)
    attributes: list[dict[str, str]] = []
    latents: list[dict[str, float]] = []
    with ordered_map(workers, cv2.setNumThreads, 1, chunk=64) as run:
        results = run(partial(_draw_views, seed, edge), range(count))
        for index, (face_view, scene_view, words, numbers) in enumerate(progress(results)):
            face[index], scene[index] = face_view, scene_view
            attributes.append(words)
            latents.append(numbers)
    columns = {name: np.array([numbers[name] for numbers in latents], dtype=np.float32) for name in latents[0]}
    columns = {name: (column - column.mean()) / max(column.std(), 1e-6) for name, column in columns.items()}
    return Stills(face, scene, attributes, columns)


def _draw_views(seed: int, edge: int, index: int) -> tuple[np.ndarray, np.ndarray, dict[str, str], dict[str, float]]:
    rng = np.random.default_rng([seed, 3, index])
    still = draw_still(rng)
    rotation = Augmentation(angle=float(rng.uniform(-MAX_ANGLE, MAX_ANGLE)))
    face = to_square(crop_face(still.image, still.face_box), rotation, edge)
    body_box = still.body_box if rng.random() < 0.7 else None  # mostly the body, as the context stream sees it
    scene = to_square(letterbox(crop_context(still.image, body_box), edge), rotation, edge)
    return face.transpose(1, 2, 0), scene.transpose(1, 2, 0), still.attributes, still.latents


def shuffled_pairs(count: int, half: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the batches of one epoch, with every still once as a face and once as a scene."""
    faces, scenes = rng.permutation(count), rng.permutation(count)
    for start in range(0, count - half + 1, half):
        yield faces[start : start + half], scenes[start : start + half]


def crop(pictures: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Return (N, S, S, 3) as (N, 3, size, size): each cropped at a random position, without ``rng`` in the middle."""
    corners = np.full((len(pictures), 2), MARGIN)
    if rng is not None:
        corners = rng.integers(2 * MARGIN + 1, size=corners.shape)
    crops = [p[y:, x:][: MINI.image_size, : MINI.image_size] for p, (y, x) in zip(pictures, corners, strict=True)]
    return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))


class Teacher(nn.Module):
    """Linear read-outs of words and latent numbers from the image feature; they are discarded after training.

    With only the contrastive loss training starts slowly, because at first the image tower gets no information on what
    captions describe.
    """

    def __init__(self, words: dict[str, list[str]], latents: list[str], width: int) -> None:
        super().__init__()
        self.words, self.latents = words, latents
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in words.items()})
        self.numbers = nn.Linear(width, len(latents))

    def forward(self, feature: Tensor, stills: Stills, indices: np.ndarray) -> Tensor:
        """Return the mean loss over words plus the mean squared error over numbers, for the stills at ``indices``."""
        losses = []
        for name, values in self.words.items():
            target = torch.tensor([values.index(stills.attributes[i][name]) for i in indices], device=feature.device)
            losses.append(F.cross_entropy(self.heads[name](feature), target))
        latents = torch.from_numpy(np.stack([stills.latents[name][indices] for name in self.latents], axis=1))
        return torch.stack(losses).mean() + F.mse_loss(self.numbers(feature), latents.to(feature.device))


def start_from_patches(tower: ImageTower, pictures: np.ndarray) -> None:
    """Set the patch layer to the whitened principal components of drawn patches.

    With a random start the feature of a patch is little more than its mean colour, and thin strokes such as brows are
    learned late.
    """
    width, _, edge, _ = tower.conv1.weight.shape
    patches = F.unfold(to_pixels(torch.from_numpy(pictures), "clip"), edge, stride=edge).transpose(1, 2).flatten(0, 1)
    centred = patches - patches.mean(dim=0)
    variance, directions = torch.linalg.eigh((centred.T @ centred / len(centred)).double())
    variance, directions = variance.flip(0)[:width].float(), directions.flip(1)[:, :width].float()
    filters = (directions / (variance + 0.01 * variance.mean()).sqrt()).T
    filters = filters / (centred @ filters.T).std() / 2
    tower.conv1.weight.data.copy_(filters.view_as(tower.conv1.weight))


def pretrain(config: Config, flags: dict[str, Any]) -> dict[str, Any]:
    """Draw the stills, train, measure retrieval on held-out persons and write the weights."""
    with open_session(config) as session:
        log, count = session.log, config.pretrain.stills + HELD_OUT
        drawing = partial(progress_bar, total=count, label="drawing")
        stills = draw_stills(count, MINI.image_size, config.run.seed, config.run.workers, drawing)
        log.say(f"{count} stills drawn in {time.time() - log.started:.0f} s")
        clip = train_clip(config, stills, session)
        weights = log.folder / "mini_clip.safetensors"
        save_clip(clip, weights)  # before the scores, so that an error there does not lose them
        scores = retrieval(clip, stills, session.device, config.run.seed)
        log.keep_metrics(scores | {"seconds": round(time.time() - log.started)})
        log.say(f"held-out persons, {HELD_OUT} of each kind: " + ", ".join(f"{k} {v:.1f}" for k, v in scores.items()))
        log.say(f"weights: {weights} ({weights.stat().st_size / 1e6:.1f} MB)")
        target = config.pretrain.clip_out
        if target:
            try:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(weights, target)
            except OSError as error:
                raise UserError(f"--clip-out {target}: {reason_of(error)}; the weights are in {weights}") from None
        return scores


def train_clip(config: Config, stills: Stills, session: Session) -> Clip:
    """Return a CLIP trained for all epochs, ready to evaluate."""
    device, optim, clip = session.device, config.optim, Clip(MINI)
    start_from_patches(clip.visual, crop(np.concatenate([stills.face[:1000], stills.scene[:1000]])))
    clip.to(device).logit_scale.data.fill_(math.log(1 / 0.07))
    words = {n: sorted({a[n] for a in stills.attributes}) for n in stills.attributes[0] if n not in UNMENTIONED}
    face_words = {name: values for name, values in words.items() if name in FACE_ATTRIBUTES}
    face_teacher = Teacher(face_words, list(FACE_LATENTS), MINI.embed_dim).to(device)
    scene_teacher = Teacher(words, list(stills.latents), MINI.embed_dim).to(device)
    parameters = [p for module in (clip, face_teacher, scene_teacher) for p in module.parameters()]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=optim.lr, betas=(0.9, 0.98), fused=True)
    half = optim.batch_size // 2
    steps = optim.epochs * (config.pretrain.stills // half)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP_STEPS, (1 + math.cos(math.pi * step / steps)) / 2)
    )
    for epoch in range(1, optim.epochs + 1):
        start, sums = time.time(), np.zeros(3)
        rng = np.random.default_rng([config.run.seed, 4, epoch - 1])
        pairs = list(shuffled_pairs(config.pretrain.stills, half, rng))
        for faces, scenes in progress_bar(pairs, len(pairs), f"epoch {epoch}/{optim.epochs}"):
            feature, text = encode(clip, stills, faces, scenes, session, rng)
            logits = clip.logit_scale.exp() * F.normalize(feature, dim=-1) @ F.normalize(text, dim=-1).T
            target = torch.arange(len(logits), device=device)
            contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
            face_loss = face_teacher(feature[: len(faces)], stills, faces)
            taught = (face_loss + scene_teacher(feature[len(faces) :], stills, scenes)) / 2
            optimizer.zero_grad(set_to_none=True)
            (contrast + config.pretrain.attribute_weight * taught).backward()
            optimizer.step()
            schedule.step()
            clip.logit_scale.data.clamp_(max=MAX_SCALE)
            accuracy = (logits.argmax(dim=1) == target).float().mean().item() * 100
            sums += contrast.item(), taught.item(), accuracy
        contrast, taught, accuracy = sums / len(pairs)
        session.log.epoch({"epoch": epoch, "train/contrast": contrast, "train/taught": taught})
        session.log.say(
            f"epoch {epoch:>2}: contrast {contrast:.3f}, taught {taught:.3f}, "
            f"own caption found {accuracy:.1f} % of {2 * half}   ({time.time() - start:.0f} s)"
        )
    return clip.eval()


def encode(
    clip: Clip, stills: Stills, faces: np.ndarray, scenes: np.ndarray, session: Session, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return the features (2N, D) of faces and scenes in one batch, and those of a caption for each."""
    device = session.device
    pictures = np.concatenate([stills.face[faces], stills.scene[scenes]])
    captions = [describe_face(stills.attributes[i], rng) for i in faces]
    captions += [describe_scene(stills.attributes[i], rng) for i in scenes]
    image = to_pixels(torch.from_numpy(crop(pictures, rng)).to(device), "clip")
    image = image * (1 + 0.2 * jitter(len(image), device)) + 0.25 * jitter(len(image), device)
    with torch.autocast(device.type, dtype=session.amp, enabled=session.amp is not None):
        feature, text = clip.visual(image), clip.encode_text(tokenize(captions).to(device))
    return feature.float(), text.float()


def jitter(count: int, device: torch.device) -> Tensor:
    """Return one number in [-1, 1] for each picture: it varies contrast or brightness, as cameras do."""
    return 2 * torch.rand(count, 1, 1, 1, device=device) - 1


@torch.inference_mode()
def retrieval(clip: Clip, stills: Stills, device: torch.device, seed: int) -> dict[str, float]:
    """Return recall at 1 and 5 in percent, image → caption and back, among the held-out faces and scenes."""
    rng = np.random.default_rng([seed, 5])
    scores = {}
    for kind, describe in (("face", describe_face), ("scene", describe_scene)):
        pictures = torch.from_numpy(crop(getattr(stills, kind)[-HELD_OUT:]))
        image = torch.cat([clip.visual(to_pixels(part.to(device), "clip")) for part in pictures.split(128)])
        tokens = tokenize([describe(a, rng) for a in stills.attributes[-HELD_OUT:]])
        text = torch.cat([clip.encode_text(part.to(device)) for part in tokens.split(128)])
        similarity = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        for way, matrix in (("image→text", similarity), ("text→image", similarity.T)):
            rank = (matrix > matrix.diag()[:, None]).sum(dim=1)
            for k in (1, 5):
                scores[f"{kind} {way} R@{k}"] = 100 * (rank < k).float().mean().item()
    return scores
