"""CLIP-CAER: encode face and context frames as one video feature and compare it with class texts.

It includes the expression-aware adapter (EAA) and the instance-enhanced classifier (IEC).
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.classifiers import Output, Texts, VideoClassifier

REDUCTION = 4  # of the adapter's bottleneck
NEAR_PARALLEL = 1e-4  # 1 - cosine below which a series replaces the arc cosine in IEC
MIN_COSINE = -1 + 1e-6  # at -1 the great circle is undefined and the derivative is infinite


class Adapter(nn.Module):
    """EAA, a bottleneck on each face frame's feature: ``f(x)`` as published, or ``x + ratio (f(x) - x)``.

    The second form keeps most of CLIP's own feature of the face. ``dropout`` follows both activations, as in RAPT.
    """

    def __init__(self, width: int, *, residual: bool = True, ratio: float = 0.2, dropout: float = 0.0) -> None:
        super().__init__()
        self.ratio = ratio if residual else 1.0
        self.layers = nn.Sequential(  # activation and dropout are one layer, so dropout changes no name of a tensor
            nn.Linear(width, width // REDUCTION, bias=False),
            nn.Sequential(nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(width // REDUCTION, width, bias=False),
            nn.Sequential(nn.ReLU(), nn.Dropout(dropout)),
        )

    def forward(self, x: Tensor) -> Tensor:
        adapted = self.layers(x)
        return adapted if self.ratio == 1.0 else x + self.ratio * (adapted - x)


def instance_enhanced_cosine(cosine: Tensor, weight: float) -> Tensor:
    """Return ``cos((1 - weight) acos(cosine))``: the video's cosine with slerp(text, video, weight), which is IEC.

    slerp turns the text towards the video by ``weight`` times the angle between them. The remaining angle is known, so
    the mixed vector is not computed. The result increases with ``cosine``, so with the same weight for all classes the
    predicted class does not change.
    """
    if weight == 0:
        return cosine
    share = 1 - weight
    cosine = cosine.clamp(MIN_COSINE, 1)
    gap = 1 - cosine
    near = gap < NEAR_PARALLEL
    # At a cosine of 1 the derivative of acos is infinite; this is the Taylor series of the whole expression there.
    series = 1 - share**2 * gap * (1 + (1 - share**2) * gap / 6)
    # The branch that is not selected must be finite too: its gradient is multiplied by 0, and 0 · inf is NaN.
    angle = torch.acos(torch.where(near, torch.zeros_like(cosine), cosine))
    return torch.where(near, series, torch.cos(share * angle))


class ClipCaer(VideoClassifier):
    """One image tower for both streams, a temporal transformer for each, and a layer that fuses them."""

    def __init__(
        self,
        *,
        image_encoder: nn.Module,
        text_encoder: nn.Module,
        prompts: nn.Module,
        descriptive: Tensor,
        adapter: nn.Module | None,
        face_temporal: nn.Module | None,
        context_temporal: nn.Module | None,
        fuse: nn.Module | None,
        slerp_weight: float,
        iec_text: str,
        temperature: float,
    ) -> None:
        """``descriptive`` (C, P, D): unit features of the hand-written texts, computed once.

        Without ``fuse`` the feature of the single stream is the video feature, as in DFER-CLIP.
        """
        super().__init__()
        self.image_encoder, self.text_encoder, self.prompts = image_encoder, text_encoder, prompts
        self.register_buffer("descriptive", descriptive)
        self.adapter, self.face_temporal, self.context_temporal = adapter, face_temporal, context_temporal
        self.fuse = fuse
        self.slerp_weight, self.iec_text, self.temperature = slerp_weight, iec_text, temperature
        self.laid_out: dict[str, nn.Module] = {}  # a plain dict, so that no checkpoint holds the copy

    def lay_out_texts(self, dtype: torch.dtype) -> None:
        """Store a copy of the frozen text tower with matrices in the type of mixed precision.

        Autocast would convert frozen weights in every pass. Converting them once gives the same bits. A text tower that
        learns gets no copy, because the copy would keep the old weights.
        """
        if any(parameter.requires_grad for parameter in self.text_encoder.parameters()):
            return
        tower = copy.deepcopy(self.text_encoder)
        for name, parameter in tower.named_parameters():
            if parameter.dim() == 2 and name != "positional_embedding":  # what autocast multiplies
                parameter.data = parameter.data.to(dtype)
        self.laid_out["text"] = tower

    @property
    def classifies_with_soft_texts(self) -> bool:
        return self.slerp_weight == 0 or self.iec_text != "descriptive"

    def head(self, face: Tensor | None, context: Tensor | None, texts: Texts | None = None) -> Output:
        """``face``, ``context``: frame features (B, T, D)."""
        video = self.encode_video(face, context)
        texts = self.encode_texts() if texts is None else texts
        return Output(self.classify(video, texts), video, texts)

    def encode_video(self, face: Tensor | None, context: Tensor | None) -> Tensor:
        """Return the unit video feature (B, D) of frame features (B, T, D)."""
        parts = []
        if self.face_temporal is not None:
            parts.append(self.face_temporal(face if self.adapter is None else self.adapter(face)))
        if self.context_temporal is not None:
            parts.append(self.context_temporal(context))
        feature = torch.cat(parts, dim=-1)
        return F.normalize((feature if self.fuse is None else self.fuse(feature)).float(), dim=-1)

    def encode_texts(self, soft: bool = True) -> Texts:
        """Return the texts of both views: learnable ones pass the text tower, descriptive ones are constant."""
        if not soft:
            return Texts(None, self.descriptive)
        is_converted = "text" in self.laid_out and torch.is_autocast_enabled(self.descriptive.device.type)
        tower = self.laid_out["text"] if is_converted else self.text_encoder
        prompts = self.prompts
        features = tower(prompts(), prompts.end, prompts.length, prompts.packing)
        features = F.normalize(features.float(), dim=-1)
        return Texts(features.view(len(self.descriptive), -1, features.shape[-1]), self.descriptive)

    def classify(self, video: Tensor, texts: Texts) -> Tensor:
        """Return logits (B, C) of videos (B, D): the mean over the texts of a class, and over both views of IEC."""
        if self.slerp_weight == 0:
            views = [texts.soft]
        else:
            by_name = {"descriptive": [texts.descriptive], "soft": [texts.soft]}
            by_name["both"] = [texts.descriptive, texts.soft]
            views = by_name[self.iec_text]
        with torch.autocast(video.device.type, enabled=False):  # cosines and their arc need float32
            cosines = [torch.einsum("bd,cpd->bcp", video, view) for view in views]
            enhanced = [instance_enhanced_cosine(cosine, self.slerp_weight).mean(dim=-1) for cosine in cosines]
        return torch.stack(enhanced).mean(dim=0) / self.temperature
