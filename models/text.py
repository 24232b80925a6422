"""Learnable prompts: context vectors around each class text's token embeddings."""

import torch
from torch import Tensor, nn

CONTEXT_STD = 0.02


class PromptLearner(nn.Module):
    """R class texts, each with ``n`` context vectors → (R, 77, W) for the text tower.

    ``embedded`` (R, 77, W) are the token embeddings of ``n`` placeholders followed by the text, ``end`` (R,) the
    end-of-text positions, ``text_lengths`` (R,) the tokens of each text without start and end. All three are buffers:
    a checkpoint needs neither the texts nor the tokenizer.
    """

    def __init__(
        self,
        embedded: Tensor,
        end: Tensor,
        text_lengths: Tensor,
        *,
        contexts: int,
        position: str = "end",
        class_specific: bool = True,
    ) -> None:
        super().__init__()
        R, _, W = embedded.shape
        self.contexts, self.position = contexts, position
        shape = (R, contexts, W) if class_specific else (contexts, W)
        self.context = nn.Parameter(CONTEXT_STD * torch.randn(shape))
        self.register_buffer("start", embedded[:, :1].clone())
        self.register_buffer("text", embedded[:, 1 + contexts :].clone())  # text, end, padding
        self.register_buffer("end", end.clone())
        self.register_buffer("text_lengths", text_lengths.clone())

    def forward(self) -> Tensor:
        R = len(self.start)
        context = self.context if self.context.dim() == 3 else self.context.expand(R, -1, -1)
        if self.position == "end":
            return torch.cat([self.start, context, self.text], dim=1)
        ahead = self.contexts // 2 if self.position == "middle" else 0  # context vectors before the class text
        rows = []
        for start, vectors, text, length in zip(
            self.start, context, self.text, self.text_lengths.tolist(), strict=True
        ):
            rows.append(torch.cat([start, vectors[:ahead], text[:length], vectors[ahead:], text[length:]]))
        return torch.stack(rows)


def with_placeholders(text: str, contexts: int) -> str:
    """``X X X text``: the tokens that the context vectors take the place of."""
    return " ".join(["X"] * contexts + [text])
