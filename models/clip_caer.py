"""CLIP-CAER: face and context frames → one video feature, compared with the texts of the classes."""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.clip_towers import encode_streams
from models.iec import instance_enhanced_cosine


@dataclass
class Texts:
    """Unit text features (C, P, D) of both views; ``soft`` is None where nothing needs it."""

    soft: Tensor | None
    descriptive: Tensor


@dataclass
class Output:
    logits: Tensor  # (B, C)
    video: Tensor  # (B, D), unit length
    texts: Texts
    captions: Tensor | None = None  # (B, D), unit length: the text that each video is to be near


class ClipCaer(nn.Module):
    """One image tower for both streams, a temporal transformer for each, one layer that joins them."""

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

        Without ``fuse`` a single stream is the video feature as it is: DFER-CLIP.
        """
        super().__init__()
        self.image_encoder, self.text_encoder, self.prompts = image_encoder, text_encoder, prompts
        self.register_buffer("descriptive", descriptive)
        self.adapter, self.face_temporal, self.context_temporal = adapter, face_temporal, context_temporal
        self.fuse = fuse
        self.slerp_weight, self.iec_text, self.temperature = slerp_weight, iec_text, temperature
        self.laid_out: dict[str, nn.Module] = {}  # a plain dict: no part of the model, and of no checkpoint

    def lay_out_texts(self, dtype: torch.dtype) -> None:
        """Keep the frozen text tower's matrices in the type that mixed precision computes in.

        Autocast converts a frozen weight in every pass; done once, the same bits come out.
        """
        tower = copy.deepcopy(self.text_encoder)
        for name, parameter in tower.named_parameters():
            if parameter.dim() == 2 and name != "positional_embedding":
                parameter.data = parameter.data.to(dtype)
        self.laid_out["text"] = tower

    @property
    def classifies_with_soft_texts(self) -> bool:
        return self.slerp_weight == 0 or self.iec_text != "descriptive"

    def forward(self, face: Tensor | None, context: Tensor | None, texts: Texts | None = None) -> Output:
        """``face``, ``context`` (B, T, 3, H, W), None for a stream left out; ``texts`` where already encoded."""
        return self.head(*self.encode_frames(face, context), texts)

    def head(self, face: Tensor | None, context: Tensor | None, texts: Texts | None = None) -> Output:
        """What follows the image tower: frame features (B, T, D) each."""
        video = self.encode_video(face, context)
        texts = self.encode_texts() if texts is None else texts
        return Output(self.classify(video, texts), video, texts)

    def encode_frames(self, face: Tensor | None, context: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Both streams in one pass of the image tower."""
        return encode_streams(self.image_encoder, face, context)

    def encode_video(self, face: Tensor | None, context: Tensor | None) -> Tensor:
        """Frame features (B, T, D) → unit video feature (B, D)."""
        parts = []
        if self.face_temporal is not None:
            parts.append(self.face_temporal(face if self.adapter is None else self.adapter(face)))
        if self.context_temporal is not None:
            parts.append(self.context_temporal(context))
        joined = torch.cat(parts, dim=-1)
        return F.normalize((joined if self.fuse is None else self.fuse(joined)).float(), dim=-1)

    def encode_texts(self, soft: bool = True) -> Texts:
        """The learnable texts pass the text tower; the descriptive ones are constant."""
        if not soft:
            return Texts(None, self.descriptive)
        converted = "text" in self.laid_out and torch.is_autocast_enabled(self.descriptive.device.type)
        tower = self.laid_out["text"] if converted else self.text_encoder
        features = F.normalize(tower(self.prompts(), self.prompts.end, self.prompts.length).float(), dim=-1)
        return Texts(features.view(len(self.descriptive), -1, features.shape[-1]), self.descriptive)

    def classify(self, video: Tensor, texts: Texts) -> Tensor:
        """(B, D) → (B, C): the mean over a class's texts, and over both views where both are asked for."""
        if self.slerp_weight == 0:
            chosen = [texts.soft]
        else:
            views = {"descriptive": [texts.descriptive], "soft": [texts.soft], "both": [texts.descriptive, texts.soft]}
            chosen = views[self.iec_text]
        with torch.autocast(video.device.type, enabled=False):  # cosines and their arc need float32
            cosines = [torch.einsum("bd,cpd->bcp", video, text) for text in chosen]
            moved = [instance_enhanced_cosine(cosine, self.slerp_weight).mean(dim=-1) for cosine in cosines]
        return torch.stack(moved).mean(dim=0) / self.temperature
