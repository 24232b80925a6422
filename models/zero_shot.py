"""Plain CLIP as a classifier of clips: the mean over frames, then over streams, is the video feature."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.clip_caer import Output, Texts
from models.clip_towers import encode_streams
from models.emoclip import prototypes


class ZeroShotClip(nn.Module):
    classifies_with_soft_texts = False

    def __init__(
        self, image_encoder: nn.Module, texts: Tensor, *, temperature: float, parts: Tensor | None = None
    ) -> None:
        """``texts`` (C0, P, D), unit length; ``parts`` (C, C0) where classes are combinations."""
        super().__init__()
        self.image_encoder, self.temperature = image_encoder, temperature
        self.register_buffer("texts", prototypes(texts, parts)[:, None])  # (C, 1, D)

    def forward(self, face: Tensor | None, context: Tensor | None, texts: Texts | None = None) -> Output:
        """(B, T, 3, H, W) each, or None → logits (B, C)."""
        return self.head(*self.encode_frames(face, context), texts)

    def encode_frames(self, face: Tensor | None, context: Tensor | None = None) -> tuple[Tensor | None, Tensor | None]:
        return encode_streams(self.image_encoder, face, context)

    def head(self, face: Tensor | None, context: Tensor | None = None, texts: Texts | None = None) -> Output:
        """What follows the image tower: frame features (B, T, D) each, or None."""
        frames = torch.stack([stream for stream in (face, context) if stream is not None])
        frames = F.normalize(frames.float(), dim=-1)
        clips = F.normalize(frames.mean(dim=2), dim=-1)  # (streams, B, D)
        video = F.normalize(clips.mean(dim=0), dim=-1)
        with torch.autocast(video.device.type, enabled=False):  # cosines need float32
            logits = video @ self.texts[:, 0].T / self.temperature
        return Output(logits, video, self.encode_texts())

    def encode_texts(self, soft: bool = False) -> Texts:
        return Texts(None, self.texts)
