"""Clips as stored frame features: the same choice of frames and of augmentation as for pixels, nothing decoded."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from dataloader.annotation import Clip
from dataloader.clips import FrameFiles, Views, indexes_of, streams_of
from dataloader.transforms import MAX_ANGLE, Augmentation


def cached_variants(count: int, max_angle: float = MAX_ANGLE, flip: bool = True) -> list[Augmentation]:
    """Plain first, then mirrored, then both at a few angles spread over the range; fewer where there are no more."""
    turned = [sign * max_angle * step / 4 for step in (3, 1, 4, 2) for sign in (1, -1)] if max_angle else []
    flips = (False, True) if flip else (False,)
    return [Augmentation(angle, flip) for angle in [0.0, *turned] for flip in flips][:count]


class EveryFrame(Dataset):
    """One clip an item: all its frames in every variant, each decoded and cropped once."""

    def __init__(self, clips: list[Clip], views: Views, variants: list[Augmentation], source: Any = None) -> None:
        self.clips, self.source = clips, source or FrameFiles(views)
        self.variants = {stream: variants for stream in streams_of(views)}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """{stream: (V, N, 3, H, W) uint8} and the number of frames that had to be replaced."""
        clip = self.clips[index]
        squares = self.source.squares(clip, np.arange(len(clip.frames)), self.variants)
        return {"replaced_frames": squares.replaced, **squares.pixels}


class FeatureDataset(Dataset):
    """``dataset[epoch, position, clip]`` as ``ClipDataset``, from features {stream: (V, rows, D)}.

    ``starts`` maps a clip's id to its first row; its frames follow in order.
    """

    def __init__(
        self,
        clips: list[Clip],
        features: dict[str, np.ndarray],
        starts: dict[str, int],
        views: Views,
        *,
        training: bool = False,
        shared_augmentation: bool = True,
        seed: int = 0,
    ) -> None:
        self.clips, self.features, self.starts, self.views = clips, features, starts, views
        self.training, self.shared, self.seed = training, shared_augmentation, seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Any]:
        epoch, position, index = key
        clip, rng = self.clips[index], np.random.default_rng([self.seed, 1, epoch, position])
        item: dict[str, Any] = {"label": clip.label, "id": clip.id, "replaced_frames": 0}
        indexes = indexes_of(clip, self.views, rng, self.training)
        variant = None
        for stream, stored in self.features.items():
            if variant is None or not self.shared:
                variant = int(rng.integers(len(stored))) if self.training else 0
            rows = stored[variant, self.starts[clip.id] + indexes]
            item[f"{stream}_features"] = torch.from_numpy(rows.astype(np.float32))  # (T, D)
        return item
