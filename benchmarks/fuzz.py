"""Feeds damaged files to every reader, which must accept each of them or refuse it in one line that names it.

    python -m benchmarks.fuzz --cases 10000            # a few minutes on one core
    python -m benchmarks.fuzz --only classes --seed 7  # one reader
    python -m benchmarks.fuzz --only classes --case 123  # repeats one case, with its traceback

Prints each case with another outcome, then a table: for each kind, the number of cases that were accepted, refused in
one line, refused without file and line, and that crashed. The exit status is 1 if one of the last two is above 0.
"""

import argparse
import contextlib
import io
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.compare import compare_folders
from apps.export import random_clips
from apps.predict.runners import OnnxRunner, run_clips
from benchmarks.mutations import (
    CLIP_FOLDERS,
    HUB_FILES,
    ValidInputs,
    damage_bytes,
    damage_clip_config,
    damage_config,
    damage_file,
    damage_header,
    damage_hub_file,
    damage_json,
    damage_lines,
    damage_onnx,
    damage_state,
    damage_training,
)
from dataloader.affwild import Video
from dataloader.annotation import read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.clips import Views
from dataloader.frames import BadFrame
from dataloader.packed import Pack
from dataloader.sequences import FeatureSource
from dataloader.transforms import PLAIN
from engine.config import make_config, read_command
from engine.evaluate import evaluate
from engine.finished_runs import report
from engine.inspect import inspect
from engine.video_features import FrameEncoder, open_index
from models.clip_backbone import load_clip
from sweep.runner import resumed_ablation
from utils.config import read_recipe
from utils.errors import UserError

EVAL_FLAGS = "--device cpu --workers 0 --slerp-weight 0.3 --normalize none --dataset RAER --clip-path random"
INSIDE = "(: damaged: its metadata)?"  # this part of a message names the JSON inside an ONNX file
SECONDS = 5  # CPU time that one case may take
ACCEPTED, REFUSED, UNNAMED, CRASHED = "accepted", "refused in one line", "refused without file and line", "crashes"


class TooSlow(BaseException):
    """A case that took longer than SECONDS."""


@dataclass(frozen=True)
class Kind:
    """``write`` returns the bytes of a damaged file, made from valid inputs. ``read`` opens it with our code."""

    write: Callable[["ValidInputs", random.Random], bytes]
    read: Callable[[Path, "ValidInputs"], Any]
    suffix: str
    whole: str = ".*"  # messages about a file as a whole; all others must name a line
    file: str = ""  # the valid file that the damaged one replaces, below the folder of the inputs


def evaluate_and_inspect(path: Path, inputs: ValidInputs) -> None:
    """Run --mode eval up to its list of clips, which does not exist, and --mode inspect."""
    flags = (
        f"--mode eval --eval-checkpoint {path} --output-dir {inputs.folder}/run --test-annotation gone.txt {EVAL_FLAGS}"
    )
    given, config = read_command(flags.split())
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluate(config, given)
    except UserError as error:
        if not str(error).startswith("annotation list gone.txt"):
            raise
    finally:
        shutil.rmtree(inputs.folder / "run", ignore_errors=True)
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")):
            inspect(*read_command(["--mode", "inspect", str(path)])[::-1])


def run_exported(path: Path, inputs: ValidInputs) -> None:
    """Open an exported model and run it on one clip."""
    runner = OnnxRunner(path)
    clips = random_clips(runner.info, 1)
    run_clips(runner, clips.get("face"), clips.get("context"))


def read_flags(path: Path, inputs: ValidInputs) -> None:
    read_command([f"@{path}", "--dry-run"])


def report_and_compare(path: Path, inputs: ValidInputs) -> None:
    """Run --mode report on the damaged folder, and --mode compare on it and a valid one."""
    folders, refusals = (str(inputs.run_folder("run")), str(inputs.run_folder("other"))), []
    reading = (
        lambda: compare_folders(folders, "auto", ()),
        lambda: report(make_config({"mode": "report", "files": folders[:1]}), {}),
    )
    for read in reading:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                read()
        except UserError as error:
            refusals.append(error)
    if refusals:
        raise refusals[-1]


def read_pack(path: Path, inputs: ValidInputs) -> None:
    """Open the pack, compare it with its clips, and read crops of each of them."""
    pack, views = Pack(str(path.parent)), Views(segments=2, size=32, pack=str(path.parent))
    try:
        pack.check(inputs.packed_clips, views)
        for clip in inputs.packed_clips:
            pack.squares(clip, np.arange(2), {"face": [PLAIN], "context": [PLAIN]})
    except BadFrame as error:
        raise UserError(f"{path}: {error}") from None


def read_features(path: Path, inputs: ValidInputs) -> None:
    """Open the features of a video as --model sequence does."""
    video = Video("video", path.parent, ("1.jpg", "2.jpg", "3.jpg", "4.jpg"), {})
    FeatureSource([video], [path.parent]).read("video", 0, 4)


KINDS = {
    "annotation": Kind(
        lambda s, rng: (
            damage_lines(s.list, rng).encode("utf-8", "surrogatepass")
            if rng.random() < 0.7
            else damage_bytes(s.list.encode(), rng)
        ),
        lambda path, s: read_annotation(str(path), s.root, s.classes),
        ".txt",
        "holds no clip|not a UTF-8",
    ),
    "face boxes": Kind(
        lambda s, rng: damage_json(s.faces, rng), lambda path, s: read_face_boxes(str(path), s.root), ".json"
    ),
    "body boxes": Kind(
        lambda s, rng: damage_json(s.bodies, rng), lambda path, s: read_body_boxes(str(path), s.root), ".json"
    ),
    "classes": Kind(lambda s, rng: damage_json(s.texts, rng), lambda path, s: load_classes("RAER", str(path)), ".json"),
    "recipe": Kind(
        lambda s, rng: damage_lines(s.recipe, rng).encode("utf-8", "surrogatepass"),
        lambda path, s: read_recipe(path),
        ".args",
        "not a text file",
    ),
    "flags": Kind(lambda s, rng: damage_lines(s.recipe, rng).encode("utf-8", "replace"), read_flags, ".args"),
    "checkpoint": Kind(lambda s, rng: damage_bytes(s.torch_file, rng), evaluate_and_inspect, ".pt"),
    "stored options": Kind(damage_config, evaluate_and_inspect, ".pt"),
    "stored tensors": Kind(
        lambda s, rng: s.saved(s.content | {"model": damage_state(s.content["model"], rng)}),
        evaluate_and_inspect,
        ".pt",
    ),
    "safetensors": Kind(damage_header, evaluate_and_inspect, ".safetensors"),
    **{
        f"hub folder, {name}": Kind(
            lambda s, rng, name=name: damage_hub_file(s, name, rng),
            lambda path, s: evaluate_and_inspect(path.parent, s),
            "",
            file=f"hub/{name}",
        )
        for name in HUB_FILES
    },
    **{
        f"config of a CLIP, {name}": Kind(
            lambda s, rng, name=name: damage_clip_config(s, name, rng),
            lambda path, s: load_clip(str(path.parent)),
            "",
            file=f"{name}/{files[0]}",
        )
        for name, files in CLIP_FOLDERS.items()
    },
    "last.pt": Kind(damage_training, lambda path, s: s.training.go_on(path), ".pt"),
    "onnx": Kind(damage_onnx, run_exported, ".onnx"),
    "clip": Kind(lambda s, rng: s.saved(damage_state(s.clip, rng)), lambda path, s: load_clip(str(path)), ".pt"),
    **{
        f"run folder, {name}": Kind(
            lambda s, rng, name=name: damage_file(s.run_folder("run") / name, rng),
            report_and_compare,
            "",
            file=f"run/{name}",
        )
        for name in ("metrics.json", "metrics.jsonl", "config.json", "mistakes/mistakes.json", "predictions.csv")
    },
    "pack index": Kind(lambda s, rng: damage_file(s.pack / "index.json", rng), read_pack, "", file="pack/index.json"),
    "index of a feature cache": Kind(
        lambda s, rng: damage_file(s.feature_cache / "index.json", rng),
        lambda path, s: open_index(path.parent, FrameEncoder(torch.nn.Identity(), 32, "none", "random")),
        "",
        file="features/index.json",
    ),
    "feature cache": Kind(
        lambda s, rng: damage_bytes((s.feature_cache / "video.npy").read_bytes(), rng),
        read_features,
        "",
        file="features/video.npy",
    ),
    "given.json": Kind(
        lambda s, rng: damage_file(s.given, rng),
        lambda path, s: resumed_ablation(path.parent, {"resume": str(path.parent)}),
        "",
        file="ablation/given.json",
    ),
}


def run_case(name: str, seed: int, inputs: ValidInputs) -> tuple[str, str]:
    """Return the outcome and the message."""
    kind, rng = KINDS[name], random.Random(f"{name} {seed}")
    data = kind.write(inputs, rng)
    path = inputs.folder / (kind.file or f"case{kind.suffix}")
    valid = path.read_bytes() if kind.file else b""
    path.write_bytes(data)
    try:
        with time_limit(SECONDS):
            kind.read(path, inputs)
    except UserError as error:
        return (REFUSED if names_file_and_line(str(error), path, name) else UNNAMED), str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return CRASHED, "".join(traceback.format_exception(error))
    finally:
        if kind.file:
            path.write_bytes(valid)
    return ACCEPTED, ""


def names_file_and_line(message: str, path: Path, name: str) -> bool:
    """Return whether the message is one line, has no control characters, and names the file and the faulty line."""
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in message):
        return False
    if name == "flags":  # these errors name the flag, in whatever file it is
        return str(path) in message or "--" in message
    if folder := KINDS[name].file.partition("/")[0]:  # the folder has several files, which may contradict each other
        return f"/{folder}" in message
    whole = KINDS[name].whole if "broken JSON" not in message else "nested too deeply|half a surrogate"
    return str(path) in message and bool(re.search(rf"{re.escape(str(path))}{INSIDE}, line [0-9]+|{whole}", message))


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooSlow(f"more than {seconds} s of CPU time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def fuzz(names: list[str], cases: int, seed: int, inputs: ValidInputs) -> tuple[Counter, list[str]]:
    """Divide ``cases`` among the kinds. Return counts by (kind, outcome), and one line for each bad case."""
    counts, bad = Counter(), []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        for case in range(seed, seed + max(1, cases // len(names))):
            outcome, message = run_case(name, case, inputs)
            counts[name, outcome] += 1
            if outcome in (UNNAMED, CRASHED):
                last = message.strip().splitlines()[-1] if outcome == CRASHED else message
                bad.append(f"{outcome}: --only {name!r} --case {case}: {ascii(last)[:300]}")
    return counts, bad


def table(names: list[str], counts: Counter) -> str:
    outcomes = (ACCEPTED, REFUSED, UNNAMED, CRASHED)
    rows = [f"| kind | cases | {' | '.join(outcomes)} |", "|---|" + "---|" * 5]
    for name in names:
        cells = [counts[name, outcome] for outcome in outcomes]
        rows.append(f"| {name} | {sum(cells)} | {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", type=int, default=10_000, help="number of cases, divided among the kinds (default: 10000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="number of the first case (default: 0)")
    parser.add_argument("--only", nargs="*", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--case", type=int, help="run only this case and print its outcome")
    options = parser.parse_args()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))  # a case that needs more ends with a MemoryError
    with tempfile.TemporaryDirectory() as folder:
        if options.case is not None:
            for name in options.only:
                print(name, *run_case(name, options.case, ValidInputs(Path(folder))))
            return 0
        started = time.time()
        counts, bad = fuzz(options.only, options.cases, options.seed, ValidInputs(Path(folder)))
    print("\n".join([*bad, "", table(options.only, counts)]))
    print(f"\n{sum(counts.values())} cases in {time.time() - started:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
