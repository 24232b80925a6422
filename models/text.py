"""Learnable prompts: context vectors around each class text's token embeddings."""

import torch
from torch import Tensor, nn

from models.clip_towers import Packing, length_of

CONTEXT_STD = 0.02


class PromptLearner(nn.Module):
    """Returns (R, 77, W) for the text tower: R class texts, each with ``n`` context vectors.

    ``embedded`` (R, 77, W) are the token embeddings of ``n`` placeholders followed by the text, ``end`` (R,) the
    end-of-text positions, ``text_lengths`` (R,) the tokens of each text without start and end. All three become
    buffers, so that a checkpoint needs neither the texts nor the tokenizer.
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
        self.length = length_of(self.end)  # tokens up to the last end of text
        ahead = {"end": contexts, "middle": contexts // 2, "front": 0}[position]  # context vectors ahead of the text
        self.packing = Packing(self.end, shared=1 if class_specific else 1 + ahead)
        self.register_buffer("order", None if position == "end" else self._order(), persistent=False)

    def forward(self) -> Tensor:
        R = len(self.start)
        context = self.context if self.context.dim() == 3 else self.context.expand(R, -1, -1)
        rows = torch.cat([self.start, context, self.text], dim=1)  # (R, 77, W)
        return rows if self.order is None else rows.gather(1, self.order[..., None].expand_as(rows))

    def _order(self) -> Tensor:
        """Return (R, 77): the index into [start, context vectors, text] for each position of a row."""
        first, last = 1 + self.contexts, 1 + self.contexts + self.text.shape[1]  # of the text
        ahead = 1 + (self.contexts // 2 if self.position == "middle" else 0)  # tokens before the class text
        rows = [
            [*range(ahead), *range(first, first + n), *range(ahead, first), *range(first + n, last)]
            for n in self.text_lengths.tolist()
        ]
        return torch.tensor(rows)


def with_placeholders(text: str, contexts: int) -> str:
    """Return ``X X X text``: the context vectors take the positions of the placeholders."""
    return " ".join(["X"] * contexts + [text])
