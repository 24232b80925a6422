"""Drawn stills for CLIP pre-training: a face crop and a scene of many new persons, with what is seen in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import cv2
import numpy as np

from dataloader.crops import crop_context, crop_face, letterbox
from dataloader.transforms import Augmentation, to_square
from simulate import draw_still

MARGIN = 8  # pixels kept around each stored picture, for random crops
MAX_ANGLE = 4.0


@dataclass(frozen=True)
class Stills:
    face: np.ndarray  # (N, S, S, 3) uint8, S = size + 2 * MARGIN
    scene: np.ndarray
    attributes: list[dict[str, str]]
    latents: dict[str, np.ndarray]  # (N,) each, zero mean and unit deviation

    def __len__(self) -> int:
        return len(self.attributes)


def draw_stills(count: int, size: int, seed: int, workers: int, progress: Any = iter) -> Stills:
    """Still ``i`` is a pure function of (seed, i); about 100 KB of memory a still at size 112."""
    stored = size + 2 * MARGIN
    face = np.empty((count, stored, stored, 3), dtype=np.uint8)
    scene = np.empty_like(face)
    attributes: list[dict[str, str]] = []
    latents: list[dict[str, float]] = []
    with get_context("spawn").Pool(max(workers, 1), initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        jobs = ((seed, index, stored) for index in range(count))
        for index, made in enumerate(progress(pool.imap(_draw_one, jobs, chunksize=64))):
            face[index], scene[index], seen, moved = made
            attributes.append(seen)
            latents.append(moved)
    return Stills(face, scene, attributes, {name: _standardised([m[name] for m in latents]) for name in latents[0]})


def _standardised(values: list[float]) -> np.ndarray:
    column = np.array(values, dtype=np.float32)
    return (column - column.mean()) / max(column.std(), 1e-6)


def _draw_one(job: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, dict[str, str], dict[str, float]]:
    seed, index, size = job
    rng = np.random.default_rng([seed, 3, index])
    still = draw_still(rng)
    as_is = Augmentation(angle=float(rng.uniform(-MAX_ANGLE, MAX_ANGLE)))
    face = to_square(crop_face(still.image, still.face_box), as_is, size)
    body_box = still.body_box if rng.random() < 0.7 else None  # mostly the body, as the context stream sees it
    scene = to_square(letterbox(crop_context(still.image, body_box), size), as_is, size)
    return face.transpose(1, 2, 0), scene.transpose(1, 2, 0), still.attributes, still.latents


def shuffled_pairs(count: int, half: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One epoch: every still once as a face and once as a scene, never both in one batch's same place."""
    faces, scenes = rng.permutation(count), rng.permutation(count)
    for start in range(0, count - half + 1, half):
        yield faces[start : start + half], scenes[start : start + half]


def random_crop(pictures: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(N, S, S, 3) → (N, 3, size, size), each cut at its own place."""
    corners = rng.integers(pictures.shape[1] - size + 1, size=(len(pictures), 2))
    cut = [p[y : y + size, x : x + size] for p, (y, x) in zip(pictures, corners, strict=True)]
    return np.ascontiguousarray(np.stack(cut).transpose(0, 3, 1, 2))


def centre_crop(pictures: np.ndarray, size: int) -> np.ndarray:
    edge = (pictures.shape[1] - size) // 2
    return np.ascontiguousarray(pictures[:, edge : edge + size, edge : edge + size].transpose(0, 3, 1, 2))
