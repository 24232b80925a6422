"""Prompt texts out of a checkpoint alone: stored prompt rows are exact rows of the token embedding."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.clip_backbone import detokenize
from models.clip_towers import VOCABULARY
from utils.errors import UserError

END_OF_TEXT = VOCABULARY - 1
UNKNOWN = -1


@dataclass
class Recovered:
    """``end`` (R,): the row of each text's end; ``lengths`` (R,): its tokens without start and end."""

    texts: list[str]
    end: Tensor
    lengths: Tensor


def recover_texts(rows: Tensor, embedding: Tensor, first: int) -> Recovered:
    """``rows`` (R, L, W): stored embeddings, of which the class text begins at row ``first``."""
    ids = find_rows(rows.flatten(0, 1), embedding).view(rows.shape[:2])
    is_end = ids == END_OF_TEXT
    if not is_end.any(dim=1).all():
        lost = (~is_end.any(dim=1)).nonzero().flatten().tolist()
        raise UserError(f"prompt {lost[0] + 1} holds no row of the token embedding that ends a text")
    end = is_end.int().argmax(dim=1)
    texts = [_spelled(row[first:stop].tolist()) for row, stop in zip(ids, end.tolist(), strict=True)]
    return Recovered(texts, end, end - first)


def find_rows(rows: Tensor, embedding: Tensor) -> Tensor:
    """(N, W) → (N,): the index of the equal row of ``embedding``, or UNKNOWN."""
    known: dict[int, list[int]] = {}
    for index, mark in enumerate(_fingerprints(embedding).tolist()):
        known.setdefault(mark, []).append(index)
    found = torch.full((len(rows),), UNKNOWN)
    for position, mark in enumerate(_fingerprints(rows).tolist()):
        equal = [index for index in known.get(mark, []) if torch.equal(embedding[index], rows[position])]
        found[position] = equal[0] if equal else UNKNOWN
    return found


def _fingerprints(rows: Tensor) -> Tensor:
    """One whole number a row, from the bits of its floats: equal rows have equal numbers."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(2**40, (rows.shape[1],), generator=generator) * 2 + 1
    parts = [(part.float().contiguous().view(torch.int32).long() * weights).sum(dim=1) for part in rows.split(4096)]
    return torch.cat(parts)


def _spelled(ids: list[int]) -> str:
    """Words where every token is known; a lost one is shown as ``?``."""
    return " ".join(detokenize(part) if part[0] != UNKNOWN else "?" for part in _runs(ids)).strip()


def _runs(ids: list[int]) -> list[list[int]]:
    """Neighbours that are all known, or all unknown, together."""
    runs: list[list[int]] = []
    for number in ids:
        if runs and (runs[-1][0] == UNKNOWN) == (number == UNKNOWN):
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs
