"""The folder of a prepared set. The record of a video is written after all its clips, so that the command can be
interrupted at any time. A video with a record is not cut again, and finished clips are never removed."""

import glob
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

from dataloader.prepare.options import PrepareOptions
from dataloader.prepare.sources import STATE, Source, digest
from utils.errors import UserError
from utils.files import acquire_lock, write_json
from utils.json_files import read_json
from utils.text import plural, some

FORMAT = 3
IMAGES = "images"


@dataclass(frozen=True)
class ClipRecord:
    """One clip on the disk."""

    folder: str  # below the set
    person: str
    frames: int  # those that were searched for faces, if the clip stays in its video
    part: int  # of its video
    faces: dict[str, list[float]]  # {frame: box}
    body: list[float] | None


@dataclass(frozen=True)
class VideoRecord:
    """The result for one video: its clips, or the error that made it unusable."""

    name: str
    path: str  # without links
    basis: dict[str, Any]  # what the clips depend on
    clips: list[ClipRecord] = field(default_factory=list)
    dropped: list[tuple[float, float, str]] = field(default_factory=list)  # seconds from and to, and why
    damaged: str | None = None
    error: str | None = None


StoredClip = TypedDict("StoredClip", get_type_hints(ClipRecord))
StoredVideo = TypedDict("StoredVideo", get_type_hints(VideoRecord) | {"clips": list[StoredClip]})


class StoredRecord(TypedDict):
    """The JSON file of a finished video; a record with a wrong hash is damaged."""

    video: StoredVideo
    hash: str


@contextmanager
def open_folder(out: Path, options: PrepareOptions) -> Iterator[None]:
    """Create the folder, or check that it was begun with the same options; lock it against other calls.

    A folder that is still empty at the end is removed.
    """
    state, is_new = out / STATE, not out.exists()
    settings, content = state / "options.json", {"format": FORMAT} | options.resolved
    if not is_new and not settings.is_file() and (not out.is_dir() or any(p.name != STATE for p in out.iterdir())):
        raise UserError(f"--out {out}: exists and is not a prepared set; choose another or an empty folder")
    with acquire_lock(state / "lock", f"--out {out}: another process is writing there; wait until it has ended"):
        if settings.is_file():
            _require_same(out, read_json(settings, dict[str, Any]), content)
        else:
            write_json(settings, content)
        try:
            yield
        finally:
            if not (out / IMAGES).exists() and not any(state.glob("videos/*.json")):
                shutil.rmtree(state, ignore_errors=True)
                with suppress(OSError):  # it is not empty
                    out.rmdir() if is_new else None


def _require_same(out: Path, existing: dict[str, Any], options: dict[str, Any]) -> None:
    existing = {"boxes_only": False} | existing  # absent in older sets
    changed = {name: value for name, value in options.items() if existing.get(name) != value}
    differences = [f"{name} {existing.get(name)} instead of {value}" for name, value in changed.items()]
    if differences:
        raise UserError(
            f"--out {out}: was begun with {', '.join(differences)}; choose another --out or remove it first"
        )


def require_kept(out: Path, sources: list[Source], records: list[VideoRecord]) -> None:
    """Raise a UserError if a video with clips is not named now, or has changed: its clips would be in no list."""
    bases = {source.real: source.basis for source in sources}
    missing = [record.path for record in records if record.clips and record.path not in bases]
    if missing:
        raise UserError(
            f"--out {out}: holds clips of {plural(len(missing), 'video')} not named now, or not in --labels "
            f"({some(missing, 3)}); name all videos of the set as before, or choose another --out"
        )
    changed = [record.path for record in records if record.clips and record.basis != bases[record.path]]
    if changed:
        raise UserError(
            f"--out {out}: holds clips of {some(changed, 3)}, which has changed since, or whose person or parts have; "
            "choose another --out"
        )


def read_records(out: Path) -> list[VideoRecord]:
    """Return the records of all finished videos; a damaged one is left out, so that its video is cut again."""
    records = []
    for path in sorted((out / STATE / "videos").glob("*.json")):
        try:
            content = read_json(path, StoredRecord)
        except UserError:
            continue
        if content["hash"] == digest(content["video"]):
            video = {name: content["video"][name] for name in StoredVideo.__annotations__}
            clips = [ClipRecord(**{name: clip[name] for name in StoredClip.__annotations__}) for clip in video["clips"]]
            records.append(VideoRecord(**video | {"clips": clips}))
    return records


def write_record(out: Path, record: VideoRecord) -> None:
    path, video = out / STATE / f"videos/{record.name}.json", asdict(record)
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"video": video, "hash": digest(video)})


def remove_clips(out: Path, source: Source) -> None:
    """Remove the clips that an interrupted call wrote of a video, and folders of persons that are then empty."""
    clips = re.compile(re.escape(source.name) + r"_\d{4,}")
    for folder in (out / IMAGES).glob(f"{glob.escape(source.person)}*/{glob.escape(source.name)}_*"):
        if clips.fullmatch(folder.name):
            shutil.rmtree(folder)
            with suppress(OSError):  # it holds other clips
                folder.parent.rmdir()
                folder.parent.parent.rmdir()
