"""Runners compute the outputs of a model: the interface of all runners, and the runner of exported ONNX files.

This file does not import torch, so that an exported model runs without it. The runner of checkpoints is in
``torch_runner.py``. Pixels are uint8 squares from ``dataloader/crops.py``.
"""

import json
import mmap
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Required, TypedDict

import numpy as np

from utils.checksum import CHECKSUM, EMPTY_CHECKSUM, require_intact
from utils.errors import UserError, first_line, quote, reason_of
from utils.json_files import Range, check_type, parse_json

CLASSES, NUMBERS, FRAMES = "classes", "numbers", "frames"  # kinds of outputs, see ``ModelInfo.kind``
METADATA, FORMAT = "emotion", 1  # the entry of an ONNX file's metadata that holds ``ModelInfo``, and its version
INSTALL = "pip install -r requirements-export.txt"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class ModelFailure(UserError):
    """The model gave no usable answer; the video may be fine."""


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model that are needed for its inputs and outputs. Exported files store these fields as JSON."""

    family: str
    model: str  # file name
    kind: str = CLASSES  # CLASSES or NUMBERS: one output per window; FRAMES: one output per frame
    names: tuple[str, ...] = ()  # of the classes
    numbers: tuple[str, ...] = ()  # other outputs, which follow the classes
    streams: str = "both"  # both, face or context
    frames: int = 16  # T: segments times duration
    duration: int = 1
    sampling: str = "whole"
    downsample: int = 1
    size: int = 224  # S: pixels of a square
    normalize: str = "none"
    crop_body: bool = False
    temperature: float = 1.0  # logits are divided by it
    calibrated: bool = False
    window: int = 300  # frames that a model of kind FRAMES reads together
    stride: int = 200
    trained_on: str | None = None  # note of the training set about itself
    face_width: float | None = None  # median width in pixels of the training faces

    @property
    def caution(self) -> str:
        """The warning in all pictures of this model's answers; empty if it was trained on pictures of people."""
        is_simulated = "simulated" in (self.trained_on or "").lower()
        return "trained on drawings: answers about real people mean nothing" if is_simulated else ""

    @property
    def views(self) -> tuple[str, ...]:
        """Return the input streams in the order of the model's inputs."""
        return ("face", "context") if self.streams == "both" else (self.streams,)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of all outputs, as tables use them."""
        return (*(f"prob_{name}" for name in self.names), *self.numbers)

    @property
    def output(self) -> str:
        """Return the name of the output of an exported graph."""
        return "logits" if self.kind == CLASSES else self.kind

    @property
    def needs_face(self) -> bool:
        """Return whether the model gives no answer without a face."""
        return self.streams == "face"

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ModelInfo":
        """Return the fields of ``StoredInfo``; raise a ValueError if they contradict one another."""
        info = cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
        columns = (*info.names, *info.numbers)
        if len({*columns}) < len(columns) or info.frames % info.duration:
            raise ValueError
        return info


Size = Annotated[int, Range(1, 1e12)]
Positive = Annotated[float, Range(1e-9, 1e9)]


class StoredInfo(TypedDict, total=False):
    """A ``ModelInfo`` as an exported file holds it; older files lack fields that have defaults."""

    family: Required[str]
    model: Required[str]
    kind: Literal["classes", "numbers", "frames"]
    names: list[str]
    numbers: list[str]
    streams: Literal["both", "face", "context"]
    frames: Size
    duration: Size
    sampling: Literal["whole", "published", "window"]
    downsample: Size
    size: Size
    normalize: str
    crop_body: bool
    temperature: Positive
    calibrated: bool
    window: Size
    stride: Size
    trained_on: str | None
    face_width: Positive | None


class Runner(Protocol):
    """A loaded model in two steps. Windows overlap, so each frame is encoded once and its features are reused."""

    info: ModelInfo
    warnings: tuple[str, ...]  # on options without an effect, or with an unexpected one

    def encode(self, squares: np.ndarray) -> np.ndarray:
        """Return features (N, ...) for ``head`` of squares (N, 3, S, S) uint8 of any stream."""
        ...

    def head(self, face: np.ndarray | None, context: np.ndarray | None) -> np.ndarray:
        """Return outputs (B, C), or (B, T, C) for kind FRAMES, float32, of features (B, T, ...) per stream.

        A stream that the model does not have is None. Kind CLASSES gives logits; the other kinds give final values.
        """
        ...


class OnnxRunner:
    """A model of ``--mode export``. Its graph is not divided, so the features of a frame are its pixels."""

    def __init__(self, path: Path, device: str = "auto", gpu: str | None = None) -> None:
        if not path.is_file():
            raise UserError(f"--onnx {path}: no such file")
        self.path = path
        self.session = open_session(path, device if gpu is None else f"cuda:{gpu}")
        self.warnings: tuple[str, ...] = ()
        if CUDA not in self.session.get_providers():
            if gpu is not None:
                self.warnings = (f"--gpu {gpu}: this onnxruntime uses no GPU, running on the CPU",)
            elif device.startswith("cuda"):
                raise UserError(f"--device {device}: this onnxruntime uses no GPU (onnxruntime-gpu does); leave it out")
        try:
            metadata = self.session.get_modelmeta().custom_metadata_map
        except Exception as error:  # such as of texts that are not UTF-8
            reason = first_line(error)
            raise UserError(f"--onnx {path}: damaged: its metadata cannot be read ({reason})") from None
        self.info = read_metadata(metadata, path)
        described, actual = describe_inputs(self.info), describe_graph(self.session)
        if described != actual:
            raise UserError(f"--onnx {path}: damaged: its metadata describe {described}, the graph is {actual}")

    def encode(self, squares: np.ndarray) -> np.ndarray:
        return squares

    def head(self, face: np.ndarray | None, context: np.ndarray | None) -> np.ndarray:
        streams = {"face": face, "context": context}
        try:
            outputs = self.session.run(None, {name: streams[name] for name in self.info.views})[0]
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ModelFailure(f"--onnx {self.path}: fails during the computation ({first_line(error)})") from None
        if outputs.shape[-1:] != (len(self.info.columns),):
            raise UserError(f"--onnx {self.path}: damaged: its outputs are not {len(self.info.columns)} numbers")
        return outputs


def run_clips(runner: Runner, face: np.ndarray | None, context: np.ndarray | None) -> np.ndarray:
    """Return the outputs for whole clips (B, T, 3, S, S) uint8 per stream; a missing stream is None."""
    streams = []
    for squares in (face, context):
        if squares is not None:
            features = runner.encode(squares.reshape(-1, *squares.shape[2:]))
            squares = features.reshape(*squares.shape[:2], *features.shape[1:])
        streams.append(squares)
    return runner.head(*streams)


def describe_inputs(info: ModelInfo) -> str:
    """Return the shapes of one clip and its output that the metadata states."""
    shape = [info.frames, 3, info.size, info.size]
    return f"{', '.join(f'{view} {shape}' for view in info.views)} to {info.output} {[len(info.columns)]}"


def describe_graph(session: Any) -> str:
    """Return the same as ``describe_inputs``, read from the graph; the first axis of every shape is the batch."""
    inputs, outputs = (
        ", ".join(f"{tensor.name} {tensor.shape[1:]}" for tensor in tensors)
        for tensors in (session.get_inputs(), session.get_outputs())
    )
    return f"{inputs} to {outputs}"


def open_session(source: Path | bytes, device: str = "cpu") -> Any:
    """Return an onnxruntime session for a file or for its content; on a GPU only if onnxruntime can use it."""
    runtime, name = import_runtime(), "the exported model" if isinstance(source, bytes) else f"--onnx {source}"
    if isinstance(source, Path):
        require_plain_graph(source)
        require_utf8(source)
    providers: list[Any] = [CPU]
    if device != "cpu" and CUDA in runtime.get_available_providers():
        providers.insert(0, (CUDA, {"device_id": int(device.partition(":")[2] or 0)}))
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as exceptions
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves cores to decoding
    try:
        # Constant folding would run parts of an untrusted graph when it is opened; exported graphs do not need it.
        return runtime.InferenceSession(
            source if isinstance(source, bytes) else str(source),
            options,
            providers,
            disabled_optimizers=["ConstantFolding"],
        )
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise UserError(f"{name}: not a model that onnxruntime reads ({str(error)[:160]})") from None


def require_utf8(path: Path) -> None:
    """Raise a UserError for a path that is not UTF-8, which onnxruntime cannot open."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"--onnx {path}: onnxruntime opens only paths that are UTF-8; rename the file or folder"
        ) from None


# --- the bytes of an ONNX file, before onnxruntime sees them

FUNCTIONS, TRAINING = 25, 20  # numbers of fields of a model, whose graph is 7
NODES, TENSORS, SPARSE = 1, 5, 15  # of a graph
DOMAIN, ATTRIBUTES = 7, 5  # of a node
TENSOR, TENSOR_LIST, GRAPHS = 5, 10, {6, 11, 22, 23}  # of an attribute; the last are graphs and sparse tensors
SIZES, EXTERNAL = 1, {13, 14}  # of a tensor


def require_plain_graph(path: Path) -> None:
    """Check an ONNX file before it is opened: its bytes are intact, and its tensors are not larger than its bytes.

    Graphs of ``--mode export`` have no loops, no branches, no functions and no data in other files.
    """
    try:
        require_intact(path)
        with open(path, "rb") as file:  # the map stays open while an exception refers to a part of it
            fault = fault_of_model(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except OSError as error:
        raise UserError(f"--onnx {path}: {reason_of(error)}") from None
    except (ValueError, IndexError) as error:
        if isinstance(error, UserError):
            raise UserError(f"--onnx {error}") from None
        raise UserError(f"--onnx {path}: not a model that onnxruntime reads (it is cut off or damaged)") from None
    if fault:
        raise UserError(f"--onnx {path}: holds {fault}, which --mode export never writes; refused")


def fault_of_model(data: memoryview) -> str | None:
    """Return what a model contains that --mode export never writes, or None."""
    for number, value in fields_of(data):
        if number in (FUNCTIONS, TRAINING):
            return "functions"
        for part, content in fields_of(value) if number == 7 else ():
            fault = fault_of_node(content) if part == NODES else fault_of_tensor(content) if part == TENSORS else None
            if fault or part == SPARSE:
                return fault or "sparse tensors"
    return None


def fault_of_node(data: memoryview) -> str | None:
    for number, value in fields_of(data):
        if number == DOMAIN and bytes(value) not in (b"", b"ai.onnx"):
            return "operations of another domain"
        for part, content in fields_of(value) if number == ATTRIBUTES else ():
            if part in GRAPHS:
                return "loops or branches"
            if part in (TENSOR, TENSOR_LIST) and (fault := fault_of_tensor(content)):
                return fault
    return None


def fault_of_tensor(data: memoryview) -> str | None:
    sizes: list[int] = []
    for number, value in fields_of(data):
        if number in EXTERNAL and value != 0:
            return "tensors in other files"
        if number == SIZES:
            sizes += [value] if isinstance(value, int) else numbers_in(value)
    return "a tensor of more numbers than bytes" if len(sizes) > 16 or prod(sizes) > 2 * len(data) else None


def fields_of(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield (number, bytes or whole number) of each field of a protobuf message, or raise a ValueError."""
    at, end = 0, len(data)
    while at < end:
        key, at = number_at(data, at)
        match key & 7:
            case 0:
                value, at = number_at(data, at)
                yield key >> 3, value
                continue
            case 1:
                length = 8
            case 2:
                length, at = number_at(data, at)
            case 5:
                length = 4
            case _:
                raise ValueError("no protobuf")
        if length > end - at:
            raise ValueError("cut off")
        yield key >> 3, data[at : at + length]
        at += length


def numbers_in(data: memoryview) -> list[int]:
    """Return the packed numbers in ``data``."""
    numbers, at = [], 0
    while at < len(data):
        number, at = number_at(data, at)
        numbers.append(number)
    return numbers


def number_at(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number at a position, with seven bits per byte, and its end."""
    number, shift = data[at] & 127, 0
    while data[at] > 127:
        at, shift = at + 1, shift + 7
        if shift > 63:
            raise ValueError("a number of too many bytes")
        number |= (data[at] & 127) << shift
    return number, at + 1


def import_runtime() -> Any:
    """Return onnxruntime with its usage reports switched off, which official builds send after the import."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"onnxruntime is not installed, but exported models need it: {INSTALL}") from None
    if hasattr(onnxruntime, "disable_telemetry_events"):  # in case it was imported earlier
        onnxruntime.disable_telemetry_events()
    return onnxruntime


def write_metadata(info: ModelInfo) -> dict[str, str]:
    """Return the metadata entries of an ONNX file that ``read_metadata`` reads."""
    return {METADATA: json.dumps({"format": FORMAT} | asdict(info)), CHECKSUM: EMPTY_CHECKSUM}


def read_metadata(metadata: dict[str, str], path: Path) -> ModelInfo:
    """Return the model facts in the metadata of an ONNX file."""
    if METADATA not in metadata:
        raise UserError(f"--onnx {path}: not written by --mode export: it has no metadata about its inputs")
    where = f"--onnx {path}: damaged: its metadata"
    values = parse_json(metadata[METADATA], dict[str, Any], where)
    if values.pop("format", None) != FORMAT:
        raise UserError(f"--onnx {path}: of another version of this project; export the checkpoint again")
    check_type(values, StoredInfo, where)
    if unknown := values.keys() - StoredInfo.__annotations__.keys():
        raise UserError(f"{where}: unknown {quote(min(unknown))}")
    try:
        return replace(ModelInfo.from_json(values), model=path.name)
    except ValueError:
        raise UserError(f"{where}: its names or numbers of frames contradict one another") from None
