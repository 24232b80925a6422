"""An exported model as a runner: onnxruntime computes, torch is never imported; the file says all that is needed."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from apps.predict.runner import CLASSES, About
from utils.errors import UserError

FORMAT = 1
METADATA = "emotion"  # the entry of the file's metadata that holds `About` as JSON
INSTALL = "pip install -r requirements-export.txt"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxRunner:
    """(B, T, 3, S, S) uint8 of each stream → logits (B, C) float32."""

    def __init__(self, path: Path, device: str = "auto", gpu: str | None = None) -> None:
        if not path.is_file():
            raise UserError(f"--onnx {path}: no such file")
        self.session = open_session(path, device if gpu is None else f"cuda:{gpu}")
        self.doubts: tuple[str, ...] = ()
        if gpu is not None and CUDA not in self.session.get_providers():
            self.doubts = (f"--gpu {gpu}: this onnxruntime uses no GPU, running on the CPU",)
        elif device.startswith("cuda") and CUDA not in self.session.get_providers():
            raise UserError(f"--device {device}: this onnxruntime uses no GPU (onnxruntime-gpu does); leave it out")
        self.about = read_about(self.session.get_modelmeta().custom_metadata_map, path)
        says, does = told_ends(self.about), graph_ends(self.session)
        if says != does:
            raise UserError(f"--onnx {path}: damaged: it says that it is {says}, and is {does}")

    def __call__(self, face: np.ndarray | None, context: np.ndarray | None) -> np.ndarray:
        given = {"face": face, "context": context}
        return self.session.run(None, {name: given[name] for name in self.about.views})[0]


def told_ends(about: About) -> str:
    """What a clip is, and its answer, by what the file says."""
    shape = [about.frames, 3, about.size, about.size]
    answer = "logits" if about.kind == CLASSES else about.kind
    return f"{', '.join(f'{view} {shape}' for view in about.views)} to {answer} {[len(about.columns)]}"


def graph_ends(session: Any) -> str:
    """The same by the graph; the first axis is the batch."""
    reads, answers = (
        [f"{one.name} {one.shape[1:]}" for one in ends] for ends in (session.get_inputs(), session.get_outputs())
    )
    return f"{', '.join(reads)} to {', '.join(answers)}"


def open_session(source: Path | bytes, device: str = "cpu") -> Any:
    """Of a file, or of what is to become one; on a GPU only where onnxruntime can use it."""
    runtime, name = import_runtime(), "the exported model" if isinstance(source, bytes) else f"--onnx {source}"
    providers: list[Any] = [CPU]
    if device != "cpu" and CUDA in runtime.get_available_providers():
        providers.insert(0, (CUDA, {"device_id": int(device.partition(":")[2] or 0)}))
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong comes as an exception
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # beside decoding, waiting threads sleep
    try:
        return runtime.InferenceSession(source if isinstance(source, bytes) else str(source), options, providers)
    except Exception as error:  # a type for each code, which have no base of their own
        raise UserError(f"{name}: not a model that onnxruntime reads ({str(error)[:160]})") from None


def import_runtime() -> Any:
    """Its official builds send reports of use to their maker unless told not to before they are imported."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"onnxruntime is not installed, which runs exported models: {INSTALL}") from None
    if hasattr(onnxruntime, "disable_telemetry_events"):  # in case that somebody imported it earlier
        onnxruntime.disable_telemetry_events()
    return onnxruntime


def read_about(metadata: dict[str, str], path: Path) -> About:
    """What the file says of itself."""
    if METADATA not in metadata:
        raise UserError(f"--onnx {path}: not written by --mode export: it does not say what it is fed with")
    try:
        stored = json.loads(metadata[METADATA])
        if stored.pop("format") != FORMAT:
            raise UserError(f"--onnx {path}: of another version of this project; export the checkpoint again")
        return replace(About.from_json(stored), model=path.name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"--onnx {path}: damaged: what it says of itself cannot be read") from None


def written_about(about: About) -> str:
    return json.dumps({"format": FORMAT} | about.as_json())
