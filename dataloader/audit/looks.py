"""Every frame file read once: a hash of each clip's bytes, the sizes of its frames, and which cannot be decoded."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dataloader.annotation import Clip
from dataloader.audit.findings import Finding, found
from dataloader.audit.reading import place
from dataloader.frames import BadFrame, begins_like_an_image, decode_frame, jpeg_size
from utils.errors import reason_of
from utils.runlog import progress_bar

TINY = 16  # pixels: no face shows in less
Size = tuple[int, int]


@dataclass(frozen=True)
class Look:
    """What the frames of one clip hold."""

    content: str | None = None  # None: not hashed, or no frame
    sizes: Counter[Size] = field(default_factory=Counter)
    bad: tuple[str, ...] = ()


Looks = dict[Path, Look]  # by the clip's first frame


def look_at_all(clips: Iterable[Clip], known: Looks, workers: int | None, quick: bool) -> Looks:
    """``known`` with every clip that it lacks. Threads: reading, hashing and decoding let one another run."""
    new = {clip.frame_path(0): clip for clip in clips if clip.frames and clip.frame_path(0) not in known}
    pool = ThreadPoolExecutor(max(min(4, os.cpu_count() or 1) if workers is None else workers, 1))
    try:
        seen = pool.map(glance_at if quick else look_at, new.values())
        known.update(zip(new, progress_bar(seen, len(new), "audit"), strict=True))
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C nothing more is begun
    return known


def look_at(clip: Clip) -> Look:
    total, sizes, bad, unread = hashlib.blake2b(digest_size=16), Counter(), [], False
    for name in clip.frames:
        path = clip.folder / name
        try:
            total.update(hashlib.blake2b(path.read_bytes(), digest_size=16).digest())
            sizes[frame_size(path)] += 1
        except OSError as error:
            unread = True  # what nobody has seen is equal to nothing
            bad.append(f"{path}: {reason_of(error)}")
        except BadFrame as error:
            bad.append(str(error).partition(": cannot be read")[0])
    return Look(None if unread else total.hexdigest(), sizes, tuple(bad))


def glance_at(clip: Clip) -> Look:
    """The first bytes of every frame."""
    paths = (clip.folder / name for name in clip.frames)
    return Look(bad=tuple(str(path) for path in paths if not begins_like_an_image(path)))


def frame_size(path: Path) -> Size:
    """Return width and height of a frame that can be decoded: a JPEG at an eighth, which reads all its bytes."""
    pixels, _ = decode_frame(path, shrink=8)
    return jpeg_size(path) or (pixels.shape[1], pixels.shape[0])


def look_of(clip: Clip, looks: Looks) -> Look:
    return looks.get(clip.frame_path(0), Look()) if clip.frames else Look()


def sizes_of(clips: list[Clip], looks: Looks) -> Counter[Size]:
    total: Counter[Size] = Counter()
    for clip in clips:
        total.update(look_of(clip, looks).sizes)
    return total


def doubts(split: str, clips: list[Clip], looks: Looks) -> list[Finding]:
    seen = [(clip, look_of(clip, looks)) for clip in clips]
    bad = [path for _, look in seen for path in look.bad]
    tiny = [f"{place(clip)}: {as_text(min(look.sizes))}" for clip, look in seen if any(map(is_tiny, look.sizes))]
    changing = [f"{place(clip)}: {' '.join(map(as_text, look.sizes))}" for clip, look in seen if len(look.sizes) > 1]
    said = found("unreadable", f"{split}: {{frame}} that cannot be read as an image", bad, split)
    said += found("tiny_frames", f"{split}: {{clip}} with frames of less than {TINY} pixels", tiny, split)
    return said + found("sizes_change", f"{split}: {{clip}} with frames of several sizes", changing, split)


def is_tiny(size: Size) -> bool:
    return min(size) < TINY


def as_text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
