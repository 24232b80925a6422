"""EmoCLIP: the frames of one stream → one video feature, compared with the texts of the classes, or read out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.clip_caer import Output, Texts


class EmoClip(nn.Module):
    """CLIP's image tower on each frame, a temporal transformer over them; class texts through CLIP's text tower."""

    classifies_with_soft_texts = False

    def __init__(
        self,
        *,
        image_encoder: nn.Module,
        temporal: nn.Module,
        text_encoder: nn.Module | None,
        token_embedding: Tensor | None,
        tokens: Tensor | None,
        head: nn.Module | None,
        temperature: float,
    ) -> None:
        """``tokens`` (C, P, 77): the class texts. With ``head`` the model predicts numbers instead of classes."""
        super().__init__()
        self.image_encoder, self.temporal, self.text_encoder = image_encoder, temporal, text_encoder
        self.head, self.temperature = head, temperature
        self.register_buffer("token_embedding", token_embedding)
        self.register_buffer("tokens", tokens)

    def forward(self, face: Tensor, context: Tensor | None = None, texts: Texts | None = None) -> Output:
        """``face`` (B, T, 3, H, W) → logits (B, C), or the head's numbers (B, N)."""
        B, T = face.shape[:2]
        feature = self.temporal(self.image_encoder(face.flatten(0, 1)).view(B, T, -1)).float()
        video = F.normalize(feature, dim=-1)
        if self.head is not None:
            return Output(self.head(feature), video, texts)
        texts = self.encode_texts() if texts is None else texts
        cosine = torch.einsum("bd,cpd->bcp", video, texts.descriptive).mean(dim=-1)
        return Output(cosine / self.temperature, video, texts)

    def encode_texts(self, soft: bool = False) -> Texts:
        C, P, L = self.tokens.shape
        flat = self.tokens.flatten(0, 1)
        features = self.text_encoder(self.token_embedding[flat], flat.argmax(dim=-1)).float()
        return Texts(None, F.normalize(features, dim=-1).view(C, P, -1))
