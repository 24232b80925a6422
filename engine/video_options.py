"""Options of answers on videos that no list names: --mode predict, serve and export."""

from dataclasses import dataclass
from typing import Literal

from utils.config import option


@dataclass(frozen=True)
class VideoOptions:
    input: str | None = option(
        None,
        "--mode predict: a video, a picture, a folder of videos or of frames, or a camera's number",
        metavar="FILE|DIR|N",
    )
    onnx: str | None = option(
        None, "--mode predict and serve: a model of --mode export, run without torch", metavar="FILE"
    )
    face_model: str | None = option(
        None,
        "what finds faces: yunet, OpenCV's cascades, or a file of a YuNet (default: yunet if it is installed)",
        metavar="yunet|cascades|FILE",
    )
    face_width: float | None = option(
        None,
        "pixels, of the faces that a model was trained on, as python -m dataloader.audit counts them (default: the "
        "checkpoint's own, where it says)",
        minimum=1,
    )
    every: float | None = option(
        None,
        "seconds between the beginnings of two windows (default: 1; of models of single frames 0.2; of sequence models "
        "every frame)",
        minimum=0.001,
    )
    seconds: float = option(4.0, "length of a window", above=0)
    detect_every: float = option(0.2, "seconds between two searches for faces; they are tracked in between", above=0)
    threshold: float = option(0.0, "less confidence than this is shown as uncertain", minimum=0, maximum=1)
    max_persons: int = option(
        1, "persons of the video, kept apart; the largest and surest faces first", minimum=1, maximum=32
    )
    overlay: bool = option(True, "--mode predict: write overlay.mp4")
    encoder: str | None = option(
        None, "of sequence models: the CLIP or the checkpoint whose features they were trained on", metavar="FILE"
    )
    format: Literal["onnx"] = option("onnx", "--mode export: the kind of file")
    host: str = option("127.0.0.1", "--mode serve: the address listened on; other machines reach any but this one")
    port: int = option(8765, "--mode serve: its port; 0 takes a free one", minimum=0, maximum=65535)
    max_upload_mb: float = option(500.0, "--mode serve: the largest video that is taken", above=0, maximum=100_000)
    max_minutes: float = option(15.0, "--mode serve: the longest video that is taken", above=0, maximum=1440)
