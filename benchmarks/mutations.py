"""Valid inputs for the fuzzer, and seeded damage to them: bytes, lines, trees of dicts and lists, tensors."""

import contextlib
import copy
import io
import json
import random
import struct
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from analysis.metrics import score
from analysis.mistakes import write_mistakes
from analysis.results import Predictions, write_results
from dataloader.annotation import Clip, read_annotation
from dataloader.classes import load_classes
from dataloader.pack import PackOptions, pack
from engine.config import make_config
from engine.device import random_state, seed_epoch
from engine.epoch_scores import RunningScore
from engine.model import build_model
from engine.optim import build_optimizer, build_schedule, parameter_groups
from engine.resume import read_resumable
from engine.run_checkpoints import Progress, ResumePoint, RunCheckpoints, folder_state
from engine.video_features import FrameEncoder
from models.clip_backbone import RANDOM_SHAPE, load_clip
from models.clip_files import HUGGING_FACE_NAMES
from utils.archive import read_safetensors, write_safetensors
from utils.checkpoint import save_checkpoint, save_safetensors
from utils.files import write_json
from utils.hub import CLASSES, CONFIG, OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, WEIGHTS
from utils.runlog import QuietLog, open_run

HUB_FILES = (CONFIG, CLASSES, WEIGHTS)  # of a folder of --mode convert --format hub
CLIP_FOLDERS = {"open-clip": (OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS[0]), "hugging-face": (CONFIG, WEIGHTS)}
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


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return ``data`` with one to four of: a flipped bit, a cut, a repeated or missing piece, random bytes."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        position, length = rng.randrange(len(damaged) + 1), rng.choice((1, 2, 8, 100))
        match rng.randrange(6):
            case 0 if position < len(damaged):
                damaged[position] ^= 1 << rng.randrange(8)
            case 1 if rng.random() < 0.3:
                del damaged[position:]
            case 2:
                damaged[position:position] = damaged[position : position + length]
            case 3:
                del damaged[position : position + length]
            case 4:
                damaged[position : position + length] = rng.randbytes(length)
            case _:
                damaged[position:position] = rng.choice(WORDS).encode("utf-8", "surrogatepass")
    return bytes(damaged)


def damage_lines(text: str, rng: random.Random) -> str:
    """Return ``text`` with its lines shuffled, repeated, cut, reversed, or with another word in them."""
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


def damage_tree(tree: Any, rng: random.Random, values: tuple[Any, ...] = VALUES) -> Any:
    """Return a copy in which one to three entries are replaced, extended or removed."""
    root = [copy.deepcopy(tree)]
    for _ in range(rng.randint(1, 3)):
        holder, key = rng.choice(list(_entries(root)))
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
                holder[key] = rng.choice(list(_entries(root)))[0]
                _break_cycles(root, set())
            case _:
                holder[key] = copy.deepcopy(rng.choice(values))
    return root[0]


def damage_json(tree: Any, rng: random.Random) -> bytes:
    """Return JSON of a damaged tree, or damaged JSON of this one: repeated keys, deep nesting, other bytes."""
    if rng.random() < 0.6:
        return json.dumps(damage_tree(tree, rng), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
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
            return damage_bytes(text.encode(), rng)


def damage_file(file: Path, rng: random.Random) -> bytes:
    """Return a damaged copy of a JSON file, of JSON lines or of a CSV."""
    if file.suffix == ".json":
        return damage_json(json.loads(file.read_text(encoding="utf-8")), rng)
    lines = file.read_text(encoding="utf-8").splitlines()
    if file.suffix == ".jsonl" and rng.random() < 0.6:
        number = rng.randrange(len(lines))
        lines[number] = damage_json(json.loads(lines[number]), rng).decode("utf-8", "replace").replace("\n", " ")
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    if rng.random() < 0.7:
        text = "\n".join(line.replace(",", " ") for line in lines)
        return damage_lines(text, rng).replace(" ", ",").encode("utf-8", "surrogatepass")
    return damage_bytes(file.read_bytes(), rng)


def _entries(holder: Any, depth: int = 0) -> Any:
    """Yield every (container, key) of a tree."""
    keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
    for key in keys:
        yield holder, key
        if depth < 8:
            yield from _entries(holder[key], depth + 1)


def _break_cycles(value: Any, above: set[int]) -> None:
    if not isinstance(value, (dict, list)):
        return
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        if id(value[key]) in above | {id(value)}:
            value[key] = None
        _break_cycles(value[key], above | {id(value)})


class ValidInputs:
    """Valid inputs of every kind, in their own folder."""

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
        self.clip = {name: value.half() for name, value in load_clip("random").openai_state().items()}
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
        save_checkpoint(self.content, folder / "valid.pt")
        save_safetensors(self.content, folder / "valid.safetensors")
        self.torch_file = (folder / "valid.pt").read_bytes()
        self.safetensors = (folder / "valid.safetensors").read_bytes()

    @cached_property
    def hub_folder(self) -> Path:
        """The same checkpoint as a folder for the Hugging Face hub."""
        from main import main  # here: it imports every mode

        folder = self.folder / "hub"
        with contextlib.redirect_stdout(io.StringIO()):
            words = ["--mode", "convert", str(self.folder / "valid.pt"), "--format", "hub"]
            assert main([*words, "--output-dir", str(folder)]) == 0
        return folder

    def clip_folder(self, name: str) -> Path:
        """A CLIP as a folder of open_clip or of Hugging Face."""
        folder, config, weights = self.folder / name, *CLIP_FOLDERS[name]
        if folder.exists():
            return folder
        folder.mkdir()
        shape, state = RANDOM_SHAPE, self.clip
        vision = {"layers": 2, "width": 64, "patch_size": 16, "image_size": 64, "head_width": 64}
        text = {"layers": 2, "width": 64, "heads": 1, "context_length": 77, "vocab_size": 49408}
        content = {"embed_dim": 64, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
        content = {"model_cfg": content, "preprocess_cfg": {"mean": shape.mean, "std": shape.deviation}}
        if name == "hugging-face":
            tower = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "hidden_act": "gelu"}
            vision = tower | {"image_size": 64, "patch_size": 16}
            content = {"model_type": "clip", "vision_config": vision, "text_config": tower}
            state = hugging_face_state(state)
        (folder / config).write_text(json.dumps(content), encoding="utf-8")
        write_safetensors(state, folder / weights)
        load_clip(str(folder))  # it is valid
        return folder

    @cached_property
    def training(self) -> "Training":
        return Training(self.folder, self.classes)

    @cached_property
    def onnx(self) -> Any:
        """A model of ``--mode export``, as the onnx package reads it."""
        import onnx

        from main import main  # here: it imports every mode

        with contextlib.redirect_stdout(io.StringIO()):
            words = ["--mode", "export", "--eval-checkpoint", str(self.folder / "valid.pt")]
            assert main([*words, "--output-dir", str(self.folder / "exported")]) == 0
        return onnx.load(self.folder / "exported/valid.onnx")

    def run_folder(self, name: str) -> Path:
        """Return the folder of a scored run with mistakes, written once."""
        folder = self.folder / name
        if folder.exists():
            return folder
        rng, names = np.random.default_rng(0), self.classes.names
        config = make_config({"clip_path": "random", "exper_name": name, "train_annotation": "train.txt"})
        with contextlib.redirect_stdout(io.StringIO()):
            log = open_run(str(folder), name, asdict(config))
            label = np.arange(30) % len(names)
            logits = rng.normal(size=(30, len(names))) + 2 * np.eye(len(names))[label]
            ids = [f"P{clip % 6}/{clip:03d}" for clip in range(30)]
            predictions = Predictions(names, ids, [id.partition("/")[0] for id in ids], label, logits)
            log.facts["data"]["train"] = {"clips": 30, "persons": 6, "classes": dict.fromkeys(names, 6)}
            boxes = {"kind": "face", "clips": 30, "clips_with_box": 29, "frames": 300, "frames_with_box": 288}
            log.facts["data"]["face boxes"] = boxes
            log.facts["best"] = {"epoch": 2, "epochs": 3}
            for epoch in range(1, 4):
                log.epoch({"epoch": epoch, "train/loss": 1 / epoch, "val/uar": 10.0 * epoch})
            scores = score(label, predictions.predicted, names)
            write_results(log, predictions, scores, split="test", selected_on="val", title=name, abstain=0.5)
            clips = [Clip(id, Path(id), (), None, 0, id) for id in ids]
            write_mistakes(clips, None, log, root=None, with_frames=False)
            log.complete()
            log.close()
        return folder

    @cached_property
    def packed_clips(self) -> list[Clip]:
        """Clips of three frames each."""
        root = self.folder / "frames"
        for clip in range(3):
            (root / f"RAER/P{clip}/000").mkdir(parents=True)
            for frame in range(1, 4):
                Image.new("RGB", (40, 30), (80 * clip, 60 * frame, 9)).save(root / f"RAER/P{clip}/000/{frame}.jpg")
        (root / "list.txt").write_text("".join(f"RAER/P{clip}/000 3 {clip + 1}\n" for clip in range(3)))
        return read_annotation("list.txt", str(root), self.classes)

    @cached_property
    def pack(self) -> Path:
        """A pack of ``packed_clips``."""
        root = str(Path(self.packed_clips[0].folder).parents[2])
        options = PackOptions(root_dir=root, train_annotation="list.txt", out=str(self.folder / "pack"), image_size=32)
        with contextlib.redirect_stdout(io.StringIO()):
            pack(replace(options, workers=0))
        return self.folder / "pack"

    @cached_property
    def feature_cache(self) -> Path:
        """Features of one video, with their index."""
        folder = self.folder / "features"
        folder.mkdir()
        np.save(folder / "video.npy", np.random.default_rng(0).normal(size=(4, 8)).astype(np.float16))
        encoder = FrameEncoder(torch.nn.Identity(), 32, "none", "random")
        write_json(folder / "index.json", {"key": encoder.key, "encoder": "random", "videos": {"video": "0" * 20}})
        return folder

    @cached_property
    def given(self) -> Path:
        """The options of an ablation."""
        folder = self.folder / "ablation"
        folder.mkdir()
        flags = {"mode": "ablate", "grid": ["lr=0.1,0.2"], "train_annotation": "train.txt", "epochs": 3, "lr": 0.1}
        write_json(folder / "given.json", flags | {"milestones": [1, 2], "exper_name": "name", "flip": True})
        return folder / "given.json"

    def saved(self, content: Any) -> bytes:
        torch.save(content, self.folder / "damaged.pt")
        return (self.folder / "damaged.pt").read_bytes()


def damage_config(inputs: ValidInputs, rng: random.Random) -> bytes:
    """Return a well-formed checkpoint with other options, names and counts; its tensors are intact."""
    rest = {key: value for key, value in inputs.content.items() if key != "model"}
    part = rng.choice((rest, rest["config"], rest["config"][rng.choice(list(rest["config"]))]))
    damaged = damage_tree(part, rng, STORED)
    if part is rest:
        content = damaged
    elif part is rest["config"]:
        content = rest | {"config": damaged}
    else:
        groups = {name: damaged if group is part else group for name, group in rest["config"].items()}
        content = rest | {"config": groups}
    return inputs.saved(content | {"model": inputs.content["model"]} if isinstance(content, dict) else content)


def damage_state(state: dict[str, torch.Tensor], rng: random.Random) -> dict[str, Any]:
    """Return a state with tensors of other sizes and types, under other names, missing, or that are no tensors."""
    damaged = dict(state)
    for _ in range(rng.randint(1, 4)):
        if not damaged:
            break
        key = rng.choice(list(damaged))
        value = damaged[key] if isinstance(damaged[key], torch.Tensor) else torch.zeros(3)
        match rng.randrange(8):
            case 0:
                del damaged[key]
            case 1:
                damaged[rng.choice(("", "extra", "\x1b[2J\n", f"module.{key}", f"{key}.0"))] = damaged.pop(key)
            case 2:
                damaged[key] = rng.choice(STORED)
            case 3:
                damaged[key] = value.flatten()[: rng.randrange(value.numel() + 1)].clone()
            case 4:
                damaged[key] = value[None].clone() if rng.random() < 0.5 else value.flatten()[None].contiguous().clone()
            case 5:
                damaged[key] = value.to(rng.choice((torch.int64, torch.bool, torch.float64, torch.uint8)))
            case 6:
                damaged[key] = torch.full_like(value, rng.choice((-1, 0, 100)))
            case _:
                damaged[key] = torch.zeros([rng.choice((0, 1, 2, 3, 64, 77)) for _ in range(rng.randrange(5))])
    return damaged


def damage_header(inputs: ValidInputs, rng: random.Random) -> bytes:
    """Return our safetensors file with another header, or with other bytes anywhere."""
    if rng.random() < 0.3:
        return damage_bytes(inputs.safetensors, rng)
    length = struct.unpack("<Q", inputs.safetensors[:8])[0]
    header, data = json.loads(inputs.safetensors[8 : 8 + length]), inputs.safetensors[8 + length :]
    stored = header["__metadata__"]["checkpoint"]
    if rng.random() < 0.7:
        header["__metadata__"]["checkpoint"] = damage_json(json.loads(stored), rng).decode("utf-8", "replace")
        body = json.dumps(header).encode()
    else:
        body = damage_json(header, rng)
    return struct.pack("<Q", len(body) if rng.random() < 0.9 else rng.randrange(2**62)) + body + data


def hugging_face_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of a CLIP under Hugging Face's names."""
    renamed = {}
    for name, value in state.items():
        if name in ("visual.proj", "text_projection"):
            renamed[f"{name.removesuffix('.proj').removesuffix('_projection')}_projection.weight"] = (
                value.T.contiguous()
            )
            continue
        tower = "" if name.startswith("visual.") else "text_model."
        for theirs, ours in HUGGING_FACE_NAMES:
            if theirs.startswith((tower, ".")):
                name = name.replace(ours, theirs) if ours.startswith(".") or name.startswith(ours) else name
        if ".attn.in_proj_" in name:
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                renamed[name.replace(".attn.in_proj_", f".self_attn.{letter}_proj.")] = part.contiguous()
            continue
        renamed[name] = value
    return renamed


def damage_clip_config(inputs: ValidInputs, name: str, rng: random.Random) -> bytes:
    """Return the damaged config of a CLIP folder."""
    return damage_json(json.loads((inputs.clip_folder(name) / CLIP_FOLDERS[name][0]).read_bytes()), rng)


def damage_hub_file(inputs: ValidInputs, name: str, rng: random.Random) -> bytes:
    """Return a damaged file of the hub folder: other JSON, other bytes, or a sound file of other tensors."""
    data = (inputs.hub_folder / name).read_bytes()
    if rng.random() < 0.1:
        return rng.choice((b"", b"{}", b"[]", b"\xff\xfe", NEST.encode(), data[: len(data) // 2]))
    if name == CONFIG and rng.random() < 0.5:  # deep inside, where most of its values are
        content = json.loads(data)
        group = rng.choice(list(content["config"]))
        content["config"][group] = damage_tree(content["config"][group], rng)
        return json.dumps(content).encode("utf-8", "surrogatepass")
    if name != WEIGHTS:
        return damage_json(json.loads(data), rng)
    if rng.random() < 0.5:
        return damage_bytes(data, rng)
    path = inputs.folder / "damaged.safetensors"
    state = damage_state(read_safetensors(inputs.hub_folder / name)[0], rng)
    write_safetensors({key: value for key, value in state.items() if isinstance(value, torch.Tensor)}, path)
    return path.read_bytes()


class Training:
    """A small training in the middle of its second epoch, and the last.pt that it wrote."""

    STEPS, BATCH = 5, 2

    def __init__(self, folder: Path, classes: Any) -> None:
        words = {"clip_path": "random", "image_size": 64, "num_segments": 2, "optimizer": "AdamW", "select_on": "last"}
        self.config, self.classes = make_config(words), classes
        self.model, shape = build_model(self.config, classes)
        self.optimizer = build_optimizer(parameter_groups(self.model, self.config.optim), self.config.optim)
        schedule = build_schedule(self.optimizer, self.config.optim, self.STEPS)
        scaler = torch.amp.GradScaler("cpu", enabled=True)
        learning = {"optimizer": self.optimizer, "schedule": schedule, "scaler": scaler}
        log = QuietLog(folder)
        session = SimpleNamespace(log=log, group=SimpleNamespace(is_main=True))
        self.checkpoints = RunCheckpoints(self.config, self.model, learning, classes, shape, "lists", "last", session)
        self.step()
        schedule.step()
        scaler._lazy_init_scale_growth_tracker(torch.device("cpu"))
        C, clips = len(classes), 2 * self.BATCH
        confusion = [[0] * C for _ in range(C)]
        confusion[0][1] = clips
        seen = {"clips": clips, "replaced": 1, "sums": {"classification": 3.5}, "confusion": confusion}
        history = [{"epoch": 1, "train/loss": 1.5, "val/uar": 20.0, "lr/temporal": 0.01}]
        best = {"uar": 20.0, "epoch": 1}
        self.checkpoints.save_last(Progress(1, 2, seen, random_state(torch.device("cpu")), best, history))
        self.content = torch.load(folder / "last.pt", weights_only=True)

    def step(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = torch.full_like(parameter, 1e-3) if parameter.requires_grad else None
        self.optimizer.step()

    def go_on(self, path: Path) -> None:
        """Read a last.pt and go on from it by a step, up to the scores and the next save."""
        point = ResumePoint(path, read_resumable(path), folder_state(path.parent))
        progress = self.checkpoints.restore(point, {"uar": -1.0, "epoch": 0}, self.STEPS)
        seed_epoch(0, progress.epoch, torch.device("cpu"), progress.random)
        score = RunningScore(self.classes.names, progress.seen)
        if score.clips:
            json.dumps(score.values())
        "".join(json.dumps(row) for row in progress.history)
        self.step()
        self.checkpoints.save_last(progress)


def damage_training(inputs: ValidInputs, rng: random.Random) -> bytes:
    """Return a well-formed last.pt with another optimizer, schedule, scaler, random state or progress."""
    content = dict(inputs.training.content)
    learning, progress = content["learning"], content["progress"]
    kind = rng.randrange(6)
    if kind <= 1:
        state = copy.deepcopy(learning["optimizer"]["state"])
        for number in rng.sample(list(state), rng.choice((1, 1, 3))):
            state[number] = damage_state(state[number], rng)
        content["learning"] = learning | {"optimizer": learning["optimizer"] | {"state": state}}
    elif kind == 2:
        groups = damage_tree(learning["optimizer"]["param_groups"], rng, STORED)
        content["learning"] = learning | {"optimizer": learning["optimizer"] | {"param_groups": groups}}
    elif kind == 3:
        name = rng.choice(("schedule", "scaler"))
        content["learning"] = learning | {name: damage_tree(learning[name], rng, STORED)}
    elif kind == 4:
        content["progress"] = damage_tree(progress, rng, STORED)
    else:
        damage = rng.choice((damage_state, scattered))
        content["progress"] = progress | {"random": damage(progress["random"], rng)}
    return inputs.saved(content)


def scattered(state: dict[str, torch.Tensor], rng: random.Random) -> dict[str, torch.Tensor]:
    """Return a random state with other bytes in it."""
    cpu = state["cpu"].clone()
    for _ in range(rng.choice((1, 10))):
        cpu[rng.randrange(len(cpu))] = rng.randrange(256)
    return {"cpu": cpu}


def damage_onnx(inputs: ValidInputs, rng: random.Random) -> bytes:
    """Return a well-formed graph with other sizes, operations, edges or metadata and without a checksum."""
    model = copy.deepcopy(inputs.onnx)
    metadata = {entry.key: entry for entry in model.metadata_props}
    metadata["emotion.checksum"].value = "0" * 16  # as before it is sealed
    facts, graph = json.loads(metadata["emotion"].value), model.graph
    for _ in range(rng.randint(1, 3)):
        node = rng.choice(graph.node)
        match rng.randrange(8):
            case 0:
                metadata["emotion"].value = damage_json(facts, rng).decode("utf-8", "replace")
            case 1:
                rng.choice(graph.initializer).dims[:] = [rng.choice((0, 1, 3, 2**20, 2**40)) for _ in range(2)]
            case 2:
                node.op_type = rng.choice([other.op_type for other in graph.node] + ["Loop", "", "x" * 3000, "Nothing"])
            case 3 if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(graph.node).output[0]
            case 4:
                node.domain = rng.choice(("com.microsoft", "", "ai.onnx.ml", "\n"))
            case 5 if node.attribute:
                attribute = rng.choice(node.attribute)
                attribute.i, attribute.ints[:] = rng.choice((-1, 0, 7, 2**40)), [rng.choice((-1, 0, 2**40))] * 2
            case 6:
                tensor = rng.choice(graph.initializer)
                tensor.data_location = 1
                tensor.external_data.add(key="location", value="/etc/passwd")
            case _:
                graph.input[0].type.tensor_type.shape.dim[1].dim_value = rng.choice((0, 1, 2**40))
    return model.SerializeToString()
