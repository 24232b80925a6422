"""--face-model: a hand-made network with YuNet's outputs, which detects red squares that fill a cell of 32 pixels."""

import importlib.util
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dataloader.detect import INSTALL, YUNET_PACKAGE, CascadeDetector, YunetDetector, open_detector, resolve_face_model
from tests.support.tools import ROOT
from utils.errors import UserError

FACE, GREY = (220, 30, 30), (110, 110, 110)


def constant(name: str, values) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def head(name: str, stride: int, channels: int, weight: float, bias, squash: bool):
    """Return nodes and weights of a 1 x 1 convolution of the redness of every cell, as (1, cells, channels)."""
    weights = [
        constant(f"{name}_w", np.full((channels, 1, 1, 1), weight)),
        constant(f"{name}_b", bias),
        numpy_helper.from_array(np.array([1, -1, channels], np.int64), f"{name}_shape"),
    ]
    nodes = [
        helper.make_node("Conv", [f"red_{stride}", f"{name}_w", f"{name}_b"], [f"{name}_conv"]),
        helper.make_node("Sigmoid" if squash else "Identity", [f"{name}_conv"], [f"{name}_squashed"]),
        helper.make_node("Transpose", [f"{name}_squashed"], [f"{name}_last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", [f"{name}_last", f"{name}_shape"], [name]),
    ]
    return nodes, weights


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> str:
    nodes = [helper.make_node("Conv", ["input", "colours"], ["red"])]
    weights, outputs = [constant("colours", np.reshape([-1, -1, 1], (1, 3, 1, 1)))], []  # blue, green, red
    for stride in (8, 16, 32):
        pooling = {"kernel_shape": [stride] * 2, "strides": [stride] * 2}
        nodes.append(helper.make_node("AveragePool", ["red"], [f"red_{stride}"], **pooling))
        # redness is 160 in a face and -110 beside it, in cells of 32 pixels
        weight = 0.2 if stride == 32 else 0.0
        for name, channels, *values in (
            ("cls", 1, weight, [-16.0], True),
            ("obj", 1, weight, [-16.0], True),
            ("bbox", 4, 0.0, [0.5, 0.5, 0.0, 0.0], False),  # the middle of the cell, and its size
            ("kps", 10, 0.0, [0.5] * 10, False),
        ):
            head_nodes, head_weights = head(f"{name}_{stride}", stride, channels, *values)
            nodes, weights = nodes + head_nodes, weights + head_weights
            shape = [1, (640 // stride) ** 2, channels]
            outputs.append(helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, shape))
    pixels = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "squares", [pixels], outputs, weights)
    file = tmp_path_factory.mktemp("yunet") / "squares.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7), file)
    return str(file)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def painted(height: int, width: int, *corners: tuple[int, int]) -> np.ndarray:
    frame = np.full((height, width, 3), GREY, np.uint8)
    for left, top in corners:
        frame[top : top + 32, left : left + 32] = FACE
    return frame


def boxes_in(detector, frame: np.ndarray) -> list[tuple[float, ...]]:
    return sorted(face.box for face in detector(frame).faces)


def test_faces_are_detected_at_their_position_in_frames_of_any_size(network):
    detector = open_detector(network)
    for size in ((320, 320), (240, 320), (500, 333), (160, 288)):
        frame = painted(*size, (64, 96), (224, 32))
        assert np.allclose(boxes_in(detector, frame), [(64, 96, 96, 128), (224, 32, 256, 64)], atol=0.5)
        assert all(face.score > 0.99 for face in detector(frame).faces)
        assert detector(painted(*size)).faces == []


def test_large_frames_are_reduced_and_boxes_scaled_back(network):
    frame = np.repeat(np.repeat(painted(480, 640, (64, 96)), 3, axis=0), 3, axis=1)
    assert np.allclose(boxes_in(open_detector(network), frame), [(192, 288, 288, 384)], atol=1.5)


def test_the_word_means_the_file_of_the_package(network, tmp_path, monkeypatch):
    package = tmp_path / YUNET_PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('nothing of it is run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(UserError, match=INSTALL):
        open_detector("yunet")
    assert resolve_face_model(None) == "cascades" and isinstance(open_detector(), CascadeDetector)
    shutil.copy(network, package / "face_detection_yunet_test.onnx")
    assert len(open_detector("yunet")(painted(320, 320, (64, 96))).faces) == 1
    assert resolve_face_model(None) == "yunet" and isinstance(open_detector(), YunetDetector)
    assert isinstance(open_detector("cascades"), CascadeDetector)


def test_a_folder_named_yunet_is_not_a_network(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yunet").mkdir()
    monkeypatch.setattr("dataloader.detect.network_files", lambda: [network])
    assert len(open_detector("yunet")(painted(320, 320, (64, 96))).faces) == 1


def test_without_the_package_a_line_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="not installed"):
        open_detector("yunet")


needs_network = pytest.mark.skipif(
    importlib.util.find_spec(YUNET_PACKAGE) is None, reason="the package with the network is not installed"
)


@needs_network
def test_the_real_network_finds_a_real_face():
    data = pytest.importorskip("skimage.data")
    (face,) = open_detector("yunet")(data.astronaut()).faces
    assert np.allclose(face.box, (181, 75, 270, 178), atol=15)  # measured by eye: cheek to cheek, fringe to chin


def test_setup_installs_the_version_that_the_message_names():
    assert INSTALL.removeprefix("pip install ") in (ROOT / "setup.sh").read_text(encoding="utf-8")


@needs_network
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 7)])
def test_frames_of_a_few_lines_have_no_face(size):
    assert open_detector("yunet")(noise(*size)).faces == []


@needs_network
def test_no_uninitialised_memory_is_read():
    """OpenCV's network reads it for sides up to 32 pixels. Here the C library fills new memory, and faces appear."""
    lines = [
        "from dataloader.detect import open_detector",
        "from tests.dataloader.test_yunet import noise",
        "detector = open_detector('yunet')",
        "sizes = (1, 5000), (5, 1000), (31, 2000), (32, 700)",
        "print([len(detector(noise(*size)).faces) for size in sizes])",
    ]
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "MALLOC_PERTURB_": "190"},
    )
    assert run.stdout == "[0, 0, 0, 0]\n", run.stderr
