"""The base class of all models of clips, and the two simplest: plain CLIP, and a linear layer on frames."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.clip_towers import encode_streams


@dataclass
class Texts:
    """Unit text features (C, P, D) of both views; ``soft`` (learnable prompts) is None if it is not needed."""

    soft: Tensor | None
    descriptive: Tensor


@dataclass
class Output:
    logits: Tensor  # (B, C), or the numbers (B, N) of a regression
    video: Tensor  # (B, D), unit length
    texts: Texts | None
    captions: Tensor | None = None  # (B, D), unit length: the text that each video is trained to be near


class VideoClassifier(nn.Module):
    """An image tower encodes every frame, and ``head`` turns frame features into logits.

    The two steps are separate because the features of a frozen tower are computed once and stored, and because the
    processes of a run divide only the first step.
    """

    classifies_with_soft_texts = False  # whether logits depend on learnable prompts
    reads_context = True

    def forward(self, face: Tensor | None, context: Tensor | None = None, texts: Texts | None = None) -> Output:
        """``face``, ``context`` (B, T, 3, H, W), None for a stream that is left out; ``texts``: if already encoded."""
        return self.head(*self.encode_frames(face, context), texts)

    def encode_frames(self, face: Tensor | None, context: Tensor | None = None) -> tuple[Tensor | None, Tensor | None]:
        """Return the frame features (B, T, D) of both streams, encoded in one pass of the image tower."""
        return encode_streams(self.image_encoder, face, context if self.reads_context else None)


class ZeroShotClip(VideoClassifier):
    """Plain CLIP: the video feature is the mean over frames, then over streams, and is compared with texts."""

    def __init__(
        self, image_encoder: nn.Module, texts: Tensor, *, temperature: float, parts: Tensor | None = None
    ) -> None:
        """``texts`` (C0, P, D), unit length; ``parts`` (C, C0) if classes are combinations."""
        super().__init__()
        self.image_encoder, self.temperature = image_encoder, temperature
        self.register_buffer("texts", prototypes(texts, parts)[:, None])  # (C, 1, D)

    def head(self, face: Tensor | None, context: Tensor | None = None, texts: Texts | None = None) -> Output:
        """``face``, ``context``: frame features (B, T, D), or None."""
        frames = torch.stack([stream for stream in (face, context) if stream is not None])
        frames = F.normalize(frames.float(), dim=-1)
        clips = F.normalize(frames.mean(dim=2), dim=-1)  # (streams, B, D)
        video = F.normalize(clips.mean(dim=0), dim=-1)
        with torch.autocast(video.device.type, enabled=False):  # cosines need float32
            logits = video @ self.texts[:, 0].T / self.temperature
        return Output(logits, video, self.encode_texts())

    def encode_texts(self, soft: bool = False) -> Texts:
        return Texts(None, self.texts)


class FrameExpression(VideoClassifier):
    """One expression per frame; its tower gives the features of long videos. Frames of a longer clip are averaged."""

    reads_context = False

    def __init__(self, image_encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.image_encoder, self.readout = image_encoder, nn.Linear(width, classes)

    def head(self, face: Tensor, context: Tensor | None = None, texts: Texts | None = None) -> Output:
        """``face``: frame features (B, T, D)."""
        feature = face.mean(dim=1)
        return Output(self.readout(feature), feature, texts)


def prototypes(texts: Tensor, parts: Tensor | None = None) -> Tensor:
    """Return unit features (C, D) of classes from unit text features (C0, P, D): the mean over the texts of a class.

    A compound class is the mean of the classes in its row of ``parts`` (C, C0), so that each part has the same weight,
    even if the texts of one part differ more than those of another.
    """
    means = F.normalize(texts.mean(dim=1), dim=-1)
    with torch.autocast(texts.device.type, enabled=False):
        return means if parts is None else F.normalize(parts @ means, dim=-1)
