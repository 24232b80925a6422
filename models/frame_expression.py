"""One frame → one expression: CLIP's image tower and a linear layer, the source of features for long videos."""

from torch import Tensor, nn

from models.clip_caer import Output, Texts
from models.clip_towers import encode_streams


class FrameExpression(nn.Module):
    """Clips of one frame; of several, their features are averaged."""

    classifies_with_soft_texts = False

    def __init__(self, image_encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.image_encoder, self.readout = image_encoder, nn.Linear(width, classes)

    def forward(self, face: Tensor, context: Tensor | None = None, texts: Texts | None = None) -> Output:
        """``face`` (B, T, 3, H, W) → logits (B, C)."""
        return self.head(*self.encode_frames(face, context), texts)

    def encode_frames(self, face: Tensor, context: Tensor | None = None) -> tuple[Tensor, None]:
        return encode_streams(self.image_encoder, face, None)

    def head(self, face: Tensor, context: Tensor | None = None, texts: Texts | None = None) -> Output:
        """What follows the image tower: frame features (B, T, D)."""
        feature = face.mean(dim=1)
        return Output(self.readout(feature), feature, texts)
