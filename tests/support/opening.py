"""A published file, opened and scored with the project's code."""

from pathlib import Path

import torch

from engine.checkpoints import model_config, open_checkpoint, rebuild
from models.clip_backbone import tokenize
from tests.support.published import Published

RAER = ("Neutrality", "Enjoyment", "Confusion", "Fatigue", "Distraction")
SEVEN = ("still", "glad", "lost", "tired", "elsewhere", "startled", "sour")
CLOSE = 2e-4  # of logits that reach 25 at a temperature of 0.01; the exact GELU instead of the tanh one is 1e-3 away


def score(path: Path, options: dict, face: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
    """Return the logits of a published file's model for pixels (B, T, 3, S, S)."""
    opened = open_checkpoint(path, options)
    model = rebuild(opened.content, model_config(opened.content, options)).eval()
    with torch.inference_mode():
        return model(face, context).logits


def assert_close(logits: torch.Tensor, expected: torch.Tensor) -> None:
    """Check that logits are equal, and that classes differ by more than the tolerance."""
    assert logits.shape == expected.shape
    assert expected.std(dim=1).min() > 0.05
    torch.testing.assert_close(logits.double(), expected, atol=CLOSE, rtol=0)


def as_written(published: Published, keys: list[str]) -> set[str]:
    """Keys of a report as in the file, with or without the prefix of DataParallel."""
    prefix = "module." if next(iter(published.state)).startswith("module.") else ""
    return {key if key.startswith(prefix) else prefix + key for key in keys}


def same_tokens(recovered: list[str], texts: tuple[str, ...]) -> bool:
    """Compare texts without spaces around commas, which CLIP's tokenizer ignores too."""
    return len(recovered) == len(texts) and torch.equal(tokenize(list(recovered)), tokenize(list(texts)))
