"""CLIP-CAER: face and context frames → one video feature, compared with the texts of the classes.

With it come its advanced strategies: the expression-aware adapter (EAA), the instance-enhanced classifier (IEC).
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.classifiers import Output, Texts, VideoClassifier

REDUCTION = 4  # of the adapter's bottleneck
NEAR_PARALLEL = 1e-4  # 1 - cosine below which IEC's series replaces the arc cosine
MIN_COSINE = -1 + 1e-6  # at -1 the great circle is not defined and the slope is infinite


class Adapter(nn.Module):
    """EAA, a bottleneck on each face frame's feature: ``f(x)`` as published, or ``x + ratio (f(x) - x)``.

    The second form keeps what CLIP already knows of the face. ``dropout`` follows both activations, as in RAPT.
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

    slerp turns the text towards the video by ``weight`` times the angle between them. The rest of the angle remains,
    so no mixed vector has to be formed. The result rises with ``cosine``: with the same weight for all classes, the
    highest class stays the highest.
    """
    if weight == 0:
        return cosine
    share = 1 - weight
    cosine = cosine.clamp(MIN_COSINE, 1)
    gap = 1 - cosine
    near = gap < NEAR_PARALLEL
    # at a cosine of 1 the slope of acos is infinite; this is the Taylor series of the whole expression there
    series = 1 - share**2 * gap * (1 + (1 - share**2) * gap / 6)
    # the branch that is not taken must stay finite too: its gradient is multiplied by zero, and 0 · inf is NaN
    angle = torch.acos(torch.where(near, torch.zeros_like(cosine), cosine))
    return torch.where(near, series, torch.cos(share * angle))


class ClipCaer(VideoClassifier):
    """One image tower for both streams, a temporal transformer for each, one layer that fuses them."""

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

        Without ``fuse`` a single stream is the video feature as it is, which is DFER-CLIP.
        """
        super().__init__()
        self.image_encoder, self.text_encoder, self.prompts = image_encoder, text_encoder, prompts
        self.register_buffer("descriptive", descriptive)
        self.adapter, self.face_temporal, self.context_temporal = adapter, face_temporal, context_temporal
        self.fuse = fuse
        self.slerp_weight, self.iec_text, self.temperature = slerp_weight, iec_text, temperature
        self.laid_out: dict[str, nn.Module] = {}  # a plain dict, so that no checkpoint holds the copy

    def lay_out_texts(self, dtype: torch.dtype) -> None:
        """Keep a copy of the frozen text tower with its matrices in the type that mixed precision computes in.

        Autocast would convert a frozen weight in every pass. Converted once, it has the same bits. A text tower that
        learns has no copy, which would stay behind.
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
        """Frame features (B, T, D) → unit video feature (B, D)."""
        parts = []
        if self.face_temporal is not None:
            parts.append(self.face_temporal(face if self.adapter is None else self.adapter(face)))
        if self.context_temporal is not None:
            parts.append(self.context_temporal(context))
        feature = torch.cat(parts, dim=-1)
        return F.normalize((feature if self.fuse is None else self.fuse(feature)).float(), dim=-1)

    def encode_texts(self, soft: bool = True) -> Texts:
        """Return the texts of both views: the learnable ones pass the text tower, the descriptive ones are constant."""
        if not soft:
            return Texts(None, self.descriptive)
        is_converted = "text" in self.laid_out and torch.is_autocast_enabled(self.descriptive.device.type)
        tower = self.laid_out["text"] if is_converted else self.text_encoder
        features = F.normalize(tower(self.prompts(), self.prompts.end, self.prompts.length).float(), dim=-1)
        return Texts(features.view(len(self.descriptive), -1, features.shape[-1]), self.descriptive)

    def classify(self, video: Tensor, texts: Texts) -> Tensor:
        """(B, D) → (B, C): the mean over a class's texts, and over both views where IEC uses both."""
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
