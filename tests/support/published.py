"""Synthetic files in the published layouts, key by key, at small widths: random weights, real texts, valid pickles."""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.clip_backbone import tokenize

IMAGE_WIDTH, TEXT_WIDTH, D, PATCH = 128, 64, 64, 16  # two heads in the image tower, one in the text tower
QUEUE, END = 128, 49407
PROMPT_TEXTS = (  # rows of a class, of several lengths
    ("a still face above an open book", "calm eyes", "nothing in the face moves at all while the pages turn"),
    ("a broad Smile", "the corners of the mouth rise and the cheeks follow", "laughing with a friend over lunch"),
    ("one brow up, and the head half-tilted", "a puzzled frown", "reading the same line for the third time"),
    ("eyelids that fall", "a long yawn behind one hand", "the chin rests upon the palm and the shoulders sink low"),
    ("looking out of the window", "a phone", "turning around to talk while the lecture goes on without them"),
    ("a mouth that opens wide in surprise at the news", "raised brows", "the hands fly up"),
    ("a wrinkled nose", "leaning far back from the plate", "the upper lip is drawn up in dislike of a smell"),
    ("one corner of the mouth drawn in", "a chin held high", "looking down at somebody along the nose"),
    ("biting the lip", "eyes that dart from side to side", "the fingers knead one another below the table"),
    ("lifted palms", "a shrug with brows drawn together", "a look around the room for anybody who could help"),
    ("a sigh", "the gaze sinks to the floor", "the smile of a moment ago is gone from the whole face"),
)
PLAIN_TEXTS = (
    "a face at rest",
    "a face that beams with teeth in view",
    "a face with knitted brows, puzzled",
    "a face about to fall asleep in the warm afternoon",
    "a face turned away",
    "a startled face with round eyes",
    "a sour face",
    "a face with one corner of the mouth up",
    "a face that bites its lip and looks around",
    "a face with lifted inner brows that looks for help",
    "a face that has lost its smile",
)


@dataclass(frozen=True)
class Recipe:
    """The settings of a synthetic file."""

    classes: int = 5
    n_ctx: int = 8
    class_specific: bool = True
    texts_per_class: int = 1
    depth: int = 1  # of the temporal transformers
    layers: int = 2  # of both CLIP towers; 12 in the real files
    image_size: int = 32
    seed: int = 0


@dataclass(frozen=True)
class Published:
    """The tensors under their published names, and the texts that they were trained on."""

    state: "OrderedDict[str, Tensor]"
    prompts: tuple[str, ...] = ()  # one a row of the prompt learner
    plain: tuple[str, ...] = ()  # of the hand-crafted view

    @property
    def lengths(self) -> list[int]:
        """Of each prompt text, in tokens without start and end."""
        return lengths_of(self.prompts)

    @property
    def plain_lengths(self) -> list[int]:
        return lengths_of(self.plain)

    def changed(self, tensors: dict[str, Tensor | None]) -> "Published":
        """Return the same with some tensors replaced or added, or (None) removed."""
        state = OrderedDict((key, tensor) for key, tensor in (self.state | tensors).items() if tensor is not None)
        return Published(state, self.prompts, self.plain)


def lengths_of(texts: tuple[str, ...]) -> list[int]:
    return [row.index(END) - 1 for row in tokenize(list(texts)).tolist()]


class Dice:
    """Random weights of a scale with which every part changes the logits."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, std: float = 1.0, mean: float = 0.0) -> Tensor:
        return mean + std * torch.randn(*shape, generator=self.generator)

    def weight(self, outputs: int, inputs: int, gain: float = 1.0) -> Tensor:
        return self.normal(outputs, inputs, std=gain * inputs**-0.5)

    def linear(self, name: str, outputs: int, inputs: int) -> dict[str, Tensor]:
        return {f"{name}.weight": self.weight(outputs, inputs), f"{name}.bias": self.normal(outputs, std=0.1)}

    def norm(self, name: str, width: int) -> dict[str, Tensor]:
        return {f"{name}.weight": self.normal(width, std=0.2, mean=1.0), f"{name}.bias": self.normal(width, std=0.1)}


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{key}": tensor for key, tensor in tensors.items()}


# -- parts ----------------------------------------------------------------------------------------------------------


def clip_blocks(dice: Dice, width: int, layers: int) -> dict[str, Tensor]:
    """12 tensors a layer."""
    tensors = {}
    for i in range(layers):
        block = {
            "attn.in_proj_weight": dice.weight(3 * width, width, gain=2.0),
            "attn.in_proj_bias": dice.normal(3 * width, std=0.1),
            **dice.linear("attn.out_proj", width, width),
            **dice.norm("ln_1", width),
            **dice.linear("mlp.c_fc", 4 * width, width),
            **dice.linear("mlp.c_proj", width, 4 * width),
            **dice.norm("ln_2", width),
        }
        tensors |= below(f"transformer.resblocks.{i}.", block)
    return tensors


def image_tower(dice: Dice, recipe: Recipe) -> dict[str, Tensor]:
    patches = (recipe.image_size // PATCH) ** 2
    return {
        "class_embedding": dice.normal(IMAGE_WIDTH),
        "positional_embedding": dice.normal(patches + 1, IMAGE_WIDTH, std=0.5),
        "proj": dice.normal(IMAGE_WIDTH, D, std=IMAGE_WIDTH**-0.5),
        "conv1.weight": dice.weight(IMAGE_WIDTH, 3 * PATCH**2, gain=2.0).view(IMAGE_WIDTH, 3, PATCH, PATCH),
        **dice.norm("ln_pre", IMAGE_WIDTH),
        **clip_blocks(dice, IMAGE_WIDTH, recipe.layers),
        **dice.norm("ln_post", IMAGE_WIDTH),
    }


def text_tower(dice: Dice, recipe: Recipe) -> dict[str, Tensor]:
    return {
        "positional_embedding": dice.normal(77, TEXT_WIDTH, std=0.01),
        "text_projection": dice.normal(TEXT_WIDTH, D, std=TEXT_WIDTH**-0.5),
        **clip_blocks(dice, TEXT_WIDTH, recipe.layers),
        **dice.norm("ln_final", TEXT_WIDTH),
    }


def whole_clip(visual: dict[str, Tensor], text: dict[str, Tensor], words: Tensor, scale: float) -> dict[str, Tensor]:
    return {
        **text,
        "logit_scale": torch.tensor(scale),
        "token_embedding.weight": words,
        **below("visual.", visual),
    }


def temporal_net(dice: Dice, recipe: Recipe, *, head: int = 64, hidden: int = 2 * D, length: int = 17, pooled=False):
    """8 heads; a class token, or RAPT's attention pooling."""
    tensors = {"pos_embedding": dice.normal(1, length, D)}
    if not pooled:
        tensors["cls_token"] = dice.normal(1, 1, D)
    for i in range(recipe.depth):
        block = {
            **dice.norm("0.fn.norm", D),
            "0.fn.fn.to_qkv.weight": dice.weight(3 * 8 * head, D, gain=1.5),
            **dice.linear("0.fn.fn.to_out.0", D, 8 * head),
            **dice.norm("1.fn.norm", D),
            **dice.linear("1.fn.fn.net.0", hidden, D),
            **dice.linear("1.fn.fn.net.3", D, hidden),
        }
        tensors |= below(f"temporal_transformer.layers.{i}.", block)
    if pooled:
        tensors |= dice.linear("attention_pool.0", D, D) | dice.linear("attention_pool.2", 1, D)
    return tensors


def prompt_texts(recipe: Recipe) -> tuple[str, ...]:
    """The texts of a class are consecutive."""
    return tuple(text for row in PROMPT_TEXTS[: recipe.classes] for text in row[: recipe.texts_per_class])


def prompt_learner(dice: Dice, recipe: Recipe, words: Tensor) -> dict[str, Tensor]:
    texts = prompt_texts(recipe)
    embedded = words[tokenize([" ".join(["X"] * recipe.n_ctx) + " " + text for text in texts])]  # (N, 77, W)
    rows = (len(texts),) if recipe.class_specific else ()
    return {
        "ctx": dice.normal(*rows, recipe.n_ctx, TEXT_WIDTH, std=0.02),
        "token_prefix": embedded[:, :1].clone(),
        "token_suffix": embedded[:, 1 + recipe.n_ctx :].clone(),
    }


# -- families -------------------------------------------------------------------------------------------------------


def clip_caer(recipe: Recipe) -> Published:
    """633 keys at 12 layers."""
    dice = Dice(recipe.seed)
    words = dice.normal(49408, TEXT_WIDTH, std=0.02)
    visual, text = image_tower(dice, recipe), text_tower(dice, recipe)
    state = OrderedDict(
        {
            **below("prompt_learner.", prompt_learner(dice, recipe, words)),
            **below("text_encoder.", text),
            **below("image_encoder.", visual),
            **below("temporal_net.", temporal_net(dice, recipe)),
            **below("temporal_net_body.", temporal_net(dice, recipe)),
            **below("clip_model_.", whole_clip(visual, text, words, 4.6052)),
            **dice.linear("project_fc", D, 2 * D),
        }
    )
    return Published(state, prompt_texts(recipe))


def fork(recipe: Recipe) -> Published:
    """636 keys: the adapter and the hand-crafted view."""
    base, dice = clip_caer(recipe), Dice(recipe.seed + 1)
    plain = PLAIN_TEXTS[: recipe.classes]
    words = base.state["clip_model_.token_embedding.weight"]
    extra = {
        "hand_crafted_prompt_embeddings": words[tokenize(list(plain))],
        "face_adapter.fc.0.weight": dice.weight(D // 4, D, gain=2.0),
        "face_adapter.fc.2.weight": dice.weight(D, D // 4, gain=2.0),
    }
    return Published(OrderedDict(base.state | extra), base.prompts, plain)


def two_heads(recipe: Recipe) -> Published:
    """640 keys: the fork NEW."""
    base, dice = fork(recipe), Dice(recipe.seed + 2)
    heads = dice.linear("cls_bin", 2, D) | dice.linear("cls_4", 4, D)
    return Published(OrderedDict(base.state | heads), base.prompts, base.plain)


def rapt(recipe: Recipe, moco: bool = False) -> Published:
    """642 keys, 832 with MoCo."""
    base, dice = fork(recipe), Dice(recipe.seed + 3)
    state = OrderedDict((k, t) for k, t in base.state.items() if not k.startswith("temporal_net"))
    state["face_adapter.fc.3.weight"] = state.pop("face_adapter.fc.2.weight")
    for net in ("temporal_net.", "temporal_net_body."):
        state |= below(net, temporal_net(dice, recipe, length=16, pooled=True))
    if moco:
        state |= momentum_copies(dice, state)
    return Published(OrderedDict(state), base.prompts, base.plain)


def momentum_copies(dice: Dice, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Values that differ from those of the parts, so that a confusion is detected."""
    copies = {}
    for part in ("image_encoder", "face_adapter", "temporal_net", "temporal_net_body", "project_fc"):
        tensors = {k: t for k, t in state.items() if k.startswith(f"{part}.")}
        copies |= {k.replace(part, f"{part}_m", 1): t + dice.normal(*t.shape, std=0.1) for k, t in tensors.items()}
    queue = dice.normal(D, QUEUE)
    return copies | {"queue": queue / queue.norm(dim=0), "queue_ptr": torch.zeros(1, dtype=torch.long)}


def dfer_clip(recipe: Recipe) -> Published:
    """618 keys, one stream, saved from DataParallel."""
    base = clip_caer(recipe)
    state = {k: t for k, t in base.state.items() if not k.startswith(("temporal_net_body.", "project_fc."))}
    return Published(OrderedDict(below("module.", state)), base.prompts)


def emoclip(recipe: Recipe, logit_scale: float = 4.2) -> Published:
    """327 keys, no prompts; CLIP partly in half precision; its own logit scale beside CLIP's."""
    dice = Dice(recipe.seed)
    words = dice.normal(49408, TEXT_WIDTH, std=0.02)
    backbone = whole_clip(image_tower(dice, recipe), text_tower(dice, recipe), words, 4.6052)
    temporal = temporal_net(dice, recipe, head=32, hidden=D, length=1024)
    state = {
        **below("backbone.", halved(backbone)),
        **below("temporal.", temporal),
        "logit_scale": torch.tensor(logit_scale),
    }
    return Published(OrderedDict(below("module.", state)))


def halved(backbone: dict[str, Tensor]) -> dict[str, Tensor]:
    """As CLIP on a GPU: linear, convolution and attention weights and the projections, but no norm, no embedding."""
    full = ("embedding", "ln_", "logit_scale")
    return {key: tensor if any(word in key for word in full) else tensor.half() for key, tensor in backbone.items()}


def emoclip_downstream(recipe: Recipe, outputs: int | None = 3) -> Published:
    """The image tower and the temporal transformer: 176 keys, or 180 with the regressor."""
    tensors = {k.removeprefix("module."): t for k, t in emoclip(recipe).state.items()}
    state = {k: t for k, t in tensors.items() if k.startswith(("backbone.visual.", "temporal."))}
    if outputs is not None:
        dice = Dice(recipe.seed + 4)
        state |= dice.linear("mlp.0", 256, D) | dice.linear("mlp.2", outputs, 256)
    return Published(OrderedDict(state))


def class_descriptions(classes: int) -> list[str]:
    return [f"someone who {'really ' * number}shows number {number}" for number in range(classes)]


def write_class_texts(path: Path, names: Sequence[str], label_base: int = 0) -> Path:
    """Classes for ``--class-texts`` with texts that differ from those of the files."""
    pairs = zip(names, class_descriptions(len(names)), strict=True)
    entries = [{"name": n, "class_descriptor": text, "descriptive": f"{text} with the face"} for n, text in pairs]
    path.write_text(json.dumps({"label_base": label_base, "classes": entries}), encoding="utf-8")
    return path
