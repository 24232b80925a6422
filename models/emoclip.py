"""EmoCLIP: the frames of one stream → one video feature, compared with any text: captions, classes; or read out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.clip_caer import Output, Texts
from models.clip_towers import encode_streams, length_of


class EmoClip(nn.Module):
    """CLIP's image tower on each frame, a temporal transformer over them; texts through CLIP's text tower."""

    classifies_with_soft_texts = False

    def __init__(
        self,
        *,
        image_encoder: nn.Module,
        temporal: nn.Module,
        text_encoder: nn.Module | None,
        token_embedding: Tensor | None,
        tokens: Tensor | None,
        parts: Tensor | None,
        readout: nn.Module | None,
        logit_scale: float,
    ) -> None:
        """``tokens`` (C0, P, 77): the texts of the classes; ``parts`` (C, C0): what compound classes are made of.

        With ``readout`` the model predicts numbers instead of classes, and needs no texts.
        """
        super().__init__()
        self.image_encoder, self.temporal, self.text_encoder = image_encoder, temporal, text_encoder
        self.readout = readout
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale)) if text_encoder is not None else None
        self.register_buffer("token_embedding", token_embedding)
        self.register_buffer("tokens", None)
        self.register_buffer("parts", None)
        self.set_classes(tokens, parts)
        self.register_load_state_dict_post_hook(lambda model, _: model.set_classes(model.tokens, model.parts))

    def set_classes(self, tokens: Tensor | None, parts: Tensor | None) -> None:
        self.tokens, self.parts = tokens, parts
        self.length = None if tokens is None else length_of(tokens.argmax(dim=-1))

    def forward(self, face: Tensor, context: Tensor | None = None, texts: Texts | None = None) -> Output:
        """``face`` (B, T, 3, H, W) → logits (B, C), or the numbers that are read out (B, N)."""
        return self.head(*self.encode_frames(face, context), texts)

    def encode_frames(self, face: Tensor, context: Tensor | None = None) -> tuple[Tensor, None]:
        return encode_streams(self.image_encoder, face, None)

    def head(self, face: Tensor, context: Tensor | None = None, texts: Texts | None = None) -> Output:
        """What follows the image tower: frame features (B, T, D)."""
        feature = self.temporal(face).float()
        video = F.normalize(feature, dim=-1)
        if self.readout is not None:
            return Output(self.readout(feature), video, texts)
        texts = self.encode_texts() if texts is None else texts
        with torch.autocast(video.device.type, enabled=False):  # logits of about 25 that differ by less than bf16 tells
            logits = self.logit_scale.exp() * video @ texts.descriptive[:, 0].T
        return Output(logits, video, texts)

    def encode_texts(self, soft: bool = False) -> Texts:
        """One prototype a class, (C, 1, D)."""
        C, P, L = self.tokens.shape
        features = self.encode_captions(self.tokens.flatten(0, 1), self.length).view(C, P, -1)
        return Texts(None, prototypes(features, self.parts)[:, None])

    def encode_captions(self, tokens: Tensor, length: int | None = None) -> Tensor:
        """(N, 77) ids → (N, D) unit features; ``length``: of the longest, where it is known."""
        features = self.text_encoder(self.token_embedding[tokens], tokens.argmax(dim=-1), length)
        return F.normalize(features.float(), dim=-1)


def prototypes(texts: Tensor, parts: Tensor | None = None) -> Tensor:
    """(C0, P, D) unit features of the texts of each class → (C, D): the mean over a class's texts, and for a compound
    class the mean over its ``parts`` (C, C0), of unit length."""
    means = F.normalize(texts.mean(dim=1), dim=-1)
    with torch.autocast(texts.device.type, enabled=False):
        return means if parts is None else F.normalize(parts @ means, dim=-1)
