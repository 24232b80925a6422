"""Videos written for measurements: segments of known emotions, and long ones that cost little to make."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICKS = 90_000


def write_video(path: Path, frames: Iterable[tuple[float, np.ndarray]], fps: float, crf: int = 18) -> Path:
    """H.264 of ``(seconds, RGB)`` at their own times."""
    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": str(crf)})
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        for seconds, pixels in frames:
            if not stream.codec_context.is_open:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = round(seconds * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def repeat_video(path: Path, out: Path, times: int) -> Path:
    """The packets of a video over and over: nothing is encoded again."""
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
