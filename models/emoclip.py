"""EmoCLIP: encode the frames of one stream as a video feature; compare it with texts, or predict numbers from it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.classifiers import Output, Texts, VideoClassifier, prototypes
from models.clip_towers import length_of


class EmoClip(VideoClassifier):
    """CLIP's image tower on each frame, a temporal transformer over them; texts through CLIP's text tower."""

    reads_context = False

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
        """``tokens`` (C0, P, 77): the texts of the classes; ``parts`` (C, C0): the classes in each compound class.

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

    def set_classes(self, tokens: Tensor | None, parts: Tensor | None) -> None:
        self.tokens, self.parts = tokens, parts
        self.length = None if tokens is None else length_of(tokens.argmax(dim=-1))

    def head(self, face: Tensor, context: Tensor | None = None, texts: Texts | None = None) -> Output:
        """Return logits (B, C), or the numbers (B, N) of a readout. ``face``: frame features (B, T, D)."""
        feature = self.temporal(face).float()
        video = F.normalize(feature, dim=-1)
        if self.readout is not None:
            return Output(self.readout(feature), video, texts)
        texts = self.encode_texts() if texts is None else texts
        with torch.autocast(video.device.type, enabled=False):  # in bf16 logits around 25 have steps of 1/8
            logits = self.logit_scale.exp() * video @ texts.descriptive[:, 0].T
        return Output(logits, video, texts)

    def encode_texts(self, soft: bool = False) -> Texts:
        """Return one prototype per class, (C, 1, D)."""
        C, P, L = self.tokens.shape
        features = self.encode_captions(self.tokens.flatten(0, 1), self.length).view(C, P, -1)
        return Texts(None, prototypes(features, self.parts)[:, None])

    def encode_captions(self, tokens: Tensor, length: int | None = None) -> Tensor:
        """Return unit features (N, D) of token ids (N, 77); ``length``: that of the longest text, if known."""
        features = self.text_encoder(self.token_embedding[tokens], tokens.argmax(dim=-1), length)
        return F.normalize(features.float(), dim=-1)
