"""Every reader of a file against hurt files: it takes them, or refuses them in one line that names the file.

    python -m benchmarks.fuzz --cases 10000            # a few minutes on one core
    python -m benchmarks.fuzz --only classes --seed 7  # one reader
    python -m benchmarks.fuzz --only classes --case 123  # one case again, with its traceback

Prints each case that ends otherwise, then a table of kind → cases → accepted → refused in one line → refused without
file and line → crashes. Exit status 1 where one of the last two is above 0.
"""

import argparse
import contextlib
import json
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.mutations import VALUES, hurt_bytes, hurt_json, hurt_lines, hurt_tree
from dataloader.annotation import read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from engine.checkpoints import evaluation_config, open_checkpoint, rebuild
from engine.inspect import describe
from engine.settings import make_config, read_command
from engine.setup import build_model
from models.clip_backbone import load_clip
from utils.checkpoint import save_checkpoint, save_safetensors
from utils.config import read_recipe
from utils.errors import UserError

SECONDS = 5  # that one case may take
ACCEPTED, REFUSED, UNNAMED, CRASHED = "accepted", "refused in one line", "refused without file and line", "crashes"
STORED = (*VALUES, torch.zeros(3), torch.tensor(float("nan")), (1, 2), b"bytes", {1, 2})  # what a torch file can hold


class TooSlow(BaseException):
    """A case that took longer than SECONDS."""


@dataclass(frozen=True)
class Kind:
    """``write``: a hurt file's bytes, from sound ones; ``read``: what the project does with the file."""

    write: Callable[["Sound", random.Random], bytes]
    read: Callable[[Path, "Sound"], Any]
    suffix: str
    whole: str = ".*"  # messages about a file as a whole; all others must name a line


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
                hurt[key] = value[None].clone() if rng.random() < 0.5 else value.T.contiguous().clone()
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


def open_and_rebuild(path: Path, sound: Sound) -> None:
    """What --mode eval and --mode inspect do with a checkpoint before they look at clips."""
    opened = open_checkpoint(path, {})
    describe(opened, {}).encode()
    rebuild(opened.content, evaluation_config(opened.content, {}))


def read_flags(path: Path, sound: Sound) -> None:
    read_command([f"@{path}", "--dry-run"])


KINDS = {
    "annotation": Kind(
        lambda s, rng: (
            hurt_lines(s.list, rng).encode("utf-8", "surrogatepass")
            if rng.random() < 0.7
            else hurt_bytes(s.list.encode(), rng)
        ),
        lambda path, s: read_annotation(str(path), s.root, s.classes),
        ".txt",
        "holds no clip|not a UTF-8",
    ),
    "face boxes": Kind(
        lambda s, rng: hurt_json(s.faces, rng), lambda path, s: read_face_boxes(str(path), s.root), ".json"
    ),
    "body boxes": Kind(
        lambda s, rng: hurt_json(s.bodies, rng), lambda path, s: read_body_boxes(str(path), s.root), ".json"
    ),
    "classes": Kind(lambda s, rng: hurt_json(s.texts, rng), lambda path, s: load_classes("RAER", str(path)), ".json"),
    "recipe": Kind(
        lambda s, rng: hurt_lines(s.recipe, rng).encode("utf-8", "surrogatepass"),
        lambda path, s: read_recipe(path),
        ".args",
        "not a text file",
    ),
    "flags": Kind(lambda s, rng: hurt_lines(s.recipe, rng).encode("utf-8", "replace"), read_flags, ".args"),
    "checkpoint": Kind(lambda s, rng: hurt_bytes(s.torch_file, rng), open_and_rebuild, ".pt"),
    "stored options": Kind(hurt_config, open_and_rebuild, ".pt"),
    "stored tensors": Kind(
        lambda s, rng: s.saved(s.content | {"model": hurt_state(s.content["model"], rng)}), open_and_rebuild, ".pt"
    ),
    "safetensors": Kind(hurt_header, open_and_rebuild, ".safetensors"),
    "clip": Kind(lambda s, rng: s.saved(hurt_state(s.clip, rng)), lambda path, s: load_clip(str(path)), ".pt"),
}


def run_case(name: str, seed: int, sound: Sound) -> tuple[str, str]:
    """``(outcome, what was said)``."""
    kind, rng = KINDS[name], random.Random(f"{name} {seed}")
    path = sound.folder / f"case{kind.suffix}"
    path.write_bytes(kind.write(sound, rng))
    try:
        with time_limit(SECONDS):
            kind.read(path, sound)
    except UserError as error:
        return (REFUSED if names_file_and_line(str(error), path, name) else UNNAMED), str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return CRASHED, "".join(traceback.format_exception(error))
    return ACCEPTED, ""


def names_file_and_line(message: str, path: Path, name: str) -> bool:
    """One line without control characters, that names the file, and the line where there is one at fault."""
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in message):
        return False
    if name == "flags":  # whose errors name the flag, wherever it stood
        return str(path) in message or "--" in message
    whole = KINDS[name].whole if "broken JSON" not in message else "nested too deeply"
    return str(path) in message and bool(re.search(rf"{re.escape(str(path))}, line [0-9]+|{whole}", message))


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooSlow(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(names: list[str], cases: int, seed: int, folder: Path) -> tuple[Counter, list[str]]:
    """``cases`` shared out among the kinds: counts by (kind, outcome), and a line on each that ended badly."""
    sound, counts, bad = Sound(folder), Counter(), []
    for name in names:
        for case in range(seed, seed + max(1, cases // len(names))):
            outcome, said = run_case(name, case, sound)
            counts[name, outcome] += 1
            if outcome in (UNNAMED, CRASHED):
                last = said.strip().splitlines()[-1] if outcome == CRASHED else said
                bad.append(f"{outcome}: --only {name!r} --case {case}: {ascii(last)[:300]}")
    return counts, bad


def table(names: list[str], counts: Counter) -> str:
    outcomes = (ACCEPTED, REFUSED, UNNAMED, CRASHED)
    rows = [f"| kind | cases | {' | '.join(outcomes)} |", "|---|" + "---|" * 5]
    for name in names:
        found = [counts[name, outcome] for outcome in outcomes]
        rows.append(f"| {name} | {sum(found)} | {' | '.join(map(str, found))} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="shared out among the kinds")
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", nargs="*", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--case", type=int, help="run this one case and print what it ends in")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))  # a case that asks for more is a MemoryError
    with tempfile.TemporaryDirectory() as folder:
        if chosen.case is not None:
            for name in chosen.only:
                print(name, *run_case(name, chosen.case, Sound(Path(folder))))
            return 0
        started = time.time()
        counts, bad = fuzz(chosen.only, chosen.cases, chosen.seed, Path(folder))
    print("\n".join([*bad, "", table(chosen.only, counts)]))
    print(f"\n{sum(counts.values())} cases in {time.time() - started:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
