"""Sound inputs for the fuzzer, and how it hurts them: bytes, lines, trees of dicts and lists, tensors. All seeded."""

import copy
import json
import random
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dataloader.classes import load_classes
from engine.config import make_config
from engine.model import build_model
from models.clip_backbone import load_clip
from utils.checkpoint import save_checkpoint, save_safetensors

NEST = "[" * 3000 + "]" * 3000
WORDS = (
    "", " ", "\t", "\0", "\x1b[31m", "\r", "\x0b", "\u2028", "\u202e", "\ufeff", "\U0001f600", "é", "e\u0301", "-1",
    "0", "1", "1.5", "1e999", "NaN", "nan", "Infinity", "-inf", "None", "null", "true", "False", "9" * 5000, "x" * 5000,
    "1_0", "٣", "²", "--", "-", "@", "#", '"', "'", "\\", "/", "..", "../..", "~", "$HOME", "%s", "{}", "=",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 2**31, 2**63, 10**30, 0.0, -0.5, 1e308, float("nan"), float("inf"), "", "text",
    "\0", "a\nb", "\x1b[2J", "\ud800", "1", "x" * 3000, [], {}, [[]], [None], [1, 2], ["a"], {"a": 1}, {"": None},
)  # fmt: skip
STORED = (*VALUES, torch.zeros(3), torch.tensor(float("nan")), (1, 2), b"bytes", {1, 2})  # what a torch file can hold


def hurt_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to four of: a flipped bit, a cut, a piece twice or missing, strange bytes."""
    hurt = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(len(hurt) + 1), rng.choice((1, 2, 8, 100))
        match rng.randrange(6):
            case 0 if place < len(hurt):
                hurt[place] ^= 1 << rng.randrange(8)
            case 1 if rng.random() < 0.3:
                del hurt[place:]
            case 2:
                hurt[place:place] = hurt[place : place + length]
            case 3:
                del hurt[place : place + length]
            case 4:
                hurt[place : place + length] = rng.randbytes(length)
            case _:
                hurt[place:place] = rng.choice(WORDS).encode("utf-8", "surrogatepass")
    return bytes(hurt)


def hurt_lines(text: str, rng: random.Random) -> str:
    """Lines shuffled, doubled, cut, joined, or with another word in them."""
    lines = text.split("\n")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        words = lines[at].split(" ")
        match rng.randrange(7):
            case 0:
                rng.shuffle(lines)
            case 1:
                lines.insert(at, lines[at])
            case 2:
                lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
            case 3:
                lines.insert(at, " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 4))))
            case 4:
                lines[at] = " ".join(words[::-1])
            case _:
                words[rng.randrange(len(words))] = rng.choice(WORDS)
                lines[at] = rng.choice((" ", " ", " ", "\t", "\u00a0", "=")).join(words)
    return "\n".join(lines)


def hurt_tree(tree: Any, rng: random.Random, values: tuple[Any, ...] = VALUES) -> Any:
    """A copy in which one to three places hold something else, hold more, or are gone."""
    root = [copy.deepcopy(tree)]
    for _ in range(rng.randint(1, 3)):
        holder, key = rng.choice(list(_places(root)))
        value = holder[key]
        match rng.randrange(8):
            case 0 if holder is not root:
                del holder[key]
            case 1 if isinstance(value, dict):
                value[rng.choice(("", "extra", "\x1b[2J\n", "name", "x" * 3000))] = rng.choice(values)
            case 2 if isinstance(value, list):
                value += [*value[:3], rng.choice(values)]
            case 3:
                holder[key] = [value]
            case 4:
                holder[key] = str(value)
            case 5 if isinstance(value, (int, float)):
                holder[key] = rng.choice((-value, value * 1e9, value + 0.5, 10**18, -(10**18)))
            case 6:
                holder[key] = rng.choice(list(_places(root)))[0]
                _break_cycles(root, set())
            case _:
                holder[key] = copy.deepcopy(rng.choice(values))
    return root[0]


def hurt_json(tree: Any, rng: random.Random) -> bytes:
    """Another tree, or the text of this one hurt: doubled keys, deep nesting, bytes."""
    if rng.random() < 0.6:
        return json.dumps(hurt_tree(tree, rng), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    text = json.dumps(tree, indent=rng.choice((None, 1)))
    match rng.randrange(6):
        case 0:
            return text.replace("{", '{"twice": 1, "twice": 2, ', 1).encode()
        case 1:
            return text.replace("[", NEST + ", [", 1).encode() if "[" in text else NEST.encode()
        case 2:
            return text.replace("1", rng.choice(WORDS), 1).encode("utf-8", "surrogatepass")
        case 3:
            return text.encode(rng.choice(("utf-16", "utf-8-sig", "utf-32")))
        case _:
            return hurt_bytes(text.encode(), rng)


def _places(holder: Any, depth: int = 0) -> Any:
    """Every (container, key) of a tree."""
    keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
    for key in keys:
        yield holder, key
        if depth < 8:
            yield from _places(holder[key], depth + 1)


def _break_cycles(value: Any, above: set[int]) -> None:
    if not isinstance(value, (dict, list)):
        return
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        if id(value[key]) in above | {id(value)}:
            value[key] = None
        _break_cycles(value[key], above | {id(value)})


class Sound:
    """Sound inputs of every kind, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.classes = folder, load_classes("RAER")
        for clip in range(3):
            (folder / f"set/RAER/P{clip}/00{clip}").mkdir(parents=True)
            (folder / f"set/RAER/P{clip}/00{clip}/1.jpg").write_bytes(b"\xff\xd8\xff")
        self.root = str(folder / "set")
        self.clips = [f"RAER/P{clip}/00{clip}" for clip in range(3)]
        self.list = "\n".join(f"{clip} 1 {label}" for clip in self.clips for label in range(1, 6)) + "\n"
        self.faces = {clip: {f"{n}.jpg": [10, 20.5, 30, 40] for n in range(1, 4)} for clip in self.clips}
        self.bodies = {clip: [10, 20.5, 30, 40] for clip in self.clips}
        texts = {"descriptive": "a face", "class_descriptor": "a person", "prompt_ensemble": ["one", "two"]}
        self.texts = {"label_base": 0, "classes": [{"name": f"class {n}"} | texts for n in range(3)]}
        self.recipe = (
            Path("recipes/advanced.args").read_text(encoding="utf-8") + '--exper-name "a name"\n--milestones 3 5\n'
        )
        config = make_config({"clip_path": "random", "image_size": 64, "num_segments": 2})
        model, shape = build_model(config, self.classes)
        self.clip = load_clip("random").openai_state()
        self.content = {
            "format": 1,
            "family": "clip-caer",
            "config": asdict(config),
            "classes": list(self.classes.names),
            "label_base": 1,
            "clip_shape": shape,
            "model": model.state_dict(),
            "epoch": 3,
            "best": {"uar": 50.0, "epoch": 2},
            "selected_on": "val",
        }
        save_checkpoint(self.content, folder / "sound.pt")
        save_safetensors(self.content, folder / "sound.safetensors")
        self.torch_file = (folder / "sound.pt").read_bytes()
        self.safetensors = (folder / "sound.safetensors").read_bytes()

    def saved(self, content: Any) -> bytes:
        torch.save(content, self.folder / "hurt.pt")
        return (self.folder / "hurt.pt").read_bytes()


def hurt_config(sound: Sound, rng: random.Random) -> bytes:
    """A well-formed checkpoint whose options, names and counts are others; its tensors are sound."""
    rest = {key: value for key, value in sound.content.items() if key != "model"}
    part = rng.choice((rest, rest["config"], rest["config"][rng.choice(list(rest["config"]))]))
    hurt = hurt_tree(part, rng, STORED)
    if part is rest:
        content = hurt
    elif part is rest["config"]:
        content = rest | {"config": hurt}
    else:
        groups = {name: hurt if group is part else group for name, group in rest["config"].items()}
        content = rest | {"config": groups}
    return sound.saved(content | {"model": sound.content["model"]} if isinstance(content, dict) else content)


def hurt_state(state: dict[str, torch.Tensor], rng: random.Random) -> dict[str, Any]:
    """Tensors of other sizes and kinds, under other names, missing, or no tensors at all."""
    hurt = dict(state)
    for _ in range(rng.randint(1, 4)):
        key = rng.choice(list(hurt))
        value = hurt[key] if isinstance(hurt[key], torch.Tensor) else torch.zeros(3)
        match rng.randrange(8):
            case 0:
                del hurt[key]
            case 1:
                hurt[rng.choice(("", "extra", "\x1b[2J\n", f"module.{key}", f"{key}.0"))] = hurt.pop(key)
            case 2:
                hurt[key] = rng.choice(STORED)
            case 3:
                hurt[key] = value.flatten()[: rng.randrange(value.numel() + 1)].clone()
            case 4:
                hurt[key] = value[None].clone() if rng.random() < 0.5 else value.flatten()[None].contiguous().clone()
            case 5:
                hurt[key] = value.to(rng.choice((torch.int64, torch.bool, torch.float64, torch.uint8)))
            case 6:
                hurt[key] = torch.full_like(value, rng.choice((-1, 0, 100)))
            case _:
                hurt[key] = torch.zeros([rng.choice((0, 1, 2, 3, 64, 77)) for _ in range(rng.randrange(5))])
    return hurt


def hurt_header(sound: Sound, rng: random.Random) -> bytes:
    """Our safetensors file with another header, or other bytes anywhere."""
    if rng.random() < 0.3:
        return hurt_bytes(sound.safetensors, rng)
    length = struct.unpack("<Q", sound.safetensors[:8])[0]
    header, data = json.loads(sound.safetensors[8 : 8 + length]), sound.safetensors[8 + length :]
    stored = header["__metadata__"]["checkpoint"]
    if rng.random() < 0.7:
        header["__metadata__"]["checkpoint"] = hurt_json(json.loads(stored), rng).decode("utf-8", "replace")
        body = json.dumps(header).encode()
    else:
        body = hurt_json(header, rng)
    return struct.pack("<Q", len(body) if rng.random() < 0.9 else rng.randrange(2**62)) + body + data
