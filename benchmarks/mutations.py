"""How the fuzzer hurts a sound input: bytes, lines, and the values of a tree of dicts and lists. All of it seeded."""

import copy
import json
import random
from typing import Any

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
