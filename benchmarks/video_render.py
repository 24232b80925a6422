"""Writes the videos of the measurements: from frames, or long ones that are quick to write."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from apps.drawing import VideoWriter


def write_video(path: Path, frames: Iterable[tuple[float, np.ndarray]], fps: float, crf: int = 18) -> Path:
    """Write H.264 video of ``(seconds, RGB frame)`` at these times, and return ``path``."""
    frames = iter(frames)
    seconds, pixels = next(frames)
    with VideoWriter(path, fps, pixels.shape[1::-1], crf=crf, container=None) as writer:
        writer.add(seconds, pixels)
        for seconds, pixels in frames:
            writer.add(seconds, pixels)
    return path


def repeat_video(path: Path, out: Path, times: int) -> Path:
    """Write the packets of a video ``times`` times without encoding them again, and return ``out``."""
    with av.open(str(out), "w") as target:
        with av.open(str(path)) as first:
            stream = target.add_stream_from_template(first.streams.video[0])
        shift = 0
        for _ in range(times):
            with av.open(str(path)) as source:
                video = source.streams.video[0]
                for packet in source.demux(video):
                    if packet.dts is not None:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                        target.mux(packet)
                shift += video.duration
    return out
