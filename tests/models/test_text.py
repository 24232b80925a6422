"""The prompt learner against sequences assembled by hand from token ids."""

import pytest
import torch

from models.build import build_prompts
from models.clip_backbone import load_clip, tokenize
from models.text import PromptLearner

CONTEXTS = 5
TEXTS = ["a calm face", "a smiling, bright face with raised cheeks", "lost"]


@pytest.fixture(scope="module")
def clip():
    return load_clip("random", 0).requires_grad_(False)


def learner(clip, position="end", class_specific=True, texts=TEXTS) -> PromptLearner:
    return build_prompts(clip, texts, contexts=CONTEXTS, position=position, class_specific=class_specific)


def ids_of(text: str) -> list[int]:
    """BPE ids without start and end, by openai-clip's own tokenizer."""
    row = tokenize([text])[0].tolist()
    return row[1 : row.index(49407)]


def by_hand(clip, prompts, position) -> torch.Tensor:
    rows = []
    for r, text in enumerate(TEXTS):
        context = prompts.context[r] if prompts.context.dim() == 3 else prompts.context
        words = clip.token_embedding(torch.tensor(ids_of(text)))
        start, end = clip.token_embedding(torch.tensor([49406])), clip.token_embedding(torch.tensor([49407]))
        body = {
            "end": [context, words],
            "front": [words, context],
            "middle": [context[: CONTEXTS // 2], words, context[CONTEXTS // 2 :]],
        }[position]
        sequence = torch.cat([start, *body, end])
        padding = clip.token_embedding(torch.zeros(77 - len(sequence), dtype=torch.long))
        rows.append(torch.cat([sequence, padding]))
    return torch.stack(rows)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [True, False])
def test_prompts_have_the_configured_order_of_start_context_words_and_end(clip, position, class_specific):
    prompts = learner(clip, position, class_specific)
    assert prompts.context.shape == ((3, CONTEXTS, 64) if class_specific else (CONTEXTS, 64))
    assert torch.equal(prompts(), by_hand(clip, prompts, position))


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_the_end_of_text_position_is_that_of_its_token(clip, position):
    prompts = learner(clip, position)
    marker = clip.token_embedding(torch.tensor(49407))
    ends = [(row == marker).all(dim=-1).nonzero()[0].item() for row in prompts()]
    assert prompts.end.tolist() == ends == [1 + CONTEXTS + len(ids_of(text)) for text in TEXTS]
    assert prompts.text_lengths.tolist() == [len(ids_of(text)) for text in TEXTS]


def test_contexts_start_small_and_normal(clip):
    torch.manual_seed(0)
    context = learner(clip, texts=TEXTS * 10).context
    assert context.std().item() == pytest.approx(0.02, rel=0.05) and abs(context.mean().item()) < 1e-3


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [True, False])
def test_all_contexts_are_trained_and_nothing_else(clip, position, class_specific):
    prompts = learner(clip, position, class_specific)
    assert [name for name, _ in prompts.named_parameters()] == ["context"]
    clip.text(prompts(), prompts.end).square().sum().backward()
    assert (prompts.context.grad.abs().sum(dim=-1) > 0).all()


def test_a_text_too_long_for_clip_is_named(clip):
    with pytest.raises(ValueError, match="77 tokens.*very"):
        learner(clip, texts=["very " * 80])


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [True, False])
def test_packed_texts_have_the_features_and_gradients_of_padded_ones(clip, position, class_specific):
    prompts, weights = learner(clip, position, class_specific), torch.randn(len(TEXTS), clip.shape.embed_dim)
    results = []
    for length, packing in ((77, None), (prompts.length, prompts.packing)):
        features = clip.text(prompts(), prompts.end, length, packing)
        (gradient,) = torch.autograd.grad((features * weights).sum(), prompts.context)
        results.append((features, gradient))
    (padded, padded_gradient), (packed, packed_gradient) = results
    assert (packed - padded).norm() < 1e-5 * padded.norm()
    assert (packed_gradient - padded_gradient).norm() < 1e-4 * padded_gradient.norm()


@pytest.mark.parametrize(
    ("position", "class_specific", "shared"), [("end", True, 1), ("end", False, 6), ("middle", False, 3)]
)
def test_tokens_that_all_texts_start_with_are_computed_once(clip, position, class_specific, shared):
    prompts = learner(clip, position, class_specific)
    lengths = [len(ids_of(text)) + CONTEXTS + 2 for text in TEXTS]
    assert len(prompts.packing.places) == sum(lengths) - (len(TEXTS) - 1) * shared
    assert prompts.packing.rows.max() == len(prompts.packing.places) - 1
