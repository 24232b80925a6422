"""Uploaded videos. Each has a folder until its result is fetched; one video is analysed at a time."""

import queue
import secrets
import shutil
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from werkzeug.exceptions import HTTPException

from apps.predict.predictor import Predictor
from dataloader.frames import begins_like_an_image
from dataloader.video import TooLong, open_video
from utils.errors import UserError

FILES = ("timeline.json", "timeline.csv", "timeline.png", "overlay.mp4", "overlay.jpg")
RETRY_SECONDS = 60  # until a video that was refused for lack of room may be sent again
AT_ONCE = 2  # videos being sent, waiting or analysed; as many finished ones may wait to be fetched
LARGEST_SIDE = 8192  # pixels; a larger frame would need hundreds of megabytes
UPLOADING, WAITING, WORKING, FINISHED, FAILED = "uploading", "waiting", "working", "done", "failed"
BROKEN = "The analysis failed because of a bug; the terminal of the server shows the details."


class Refusal(HTTPException):
    """A message for the sender of a video, with an HTTP ``status``. A 503 says in a header when to try again."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.code = status
        self.headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else {}


@dataclass
class Job:
    """One video from upload to the removal of its folder."""

    id: str
    folder: Path
    state: str = UPLOADING
    error: str = ""
    duration: float | None = None  # seconds, None if the file does not state it
    fps: float = 25.0
    frames: int = 0  # number of frames analysed so far
    last_request: float = field(default_factory=time.monotonic)
    is_cancelled: bool = False
    is_picture: bool = False
    has_overlay: bool = True  # whether the video with boxes is written, which only the page shows

    @property
    def upload(self) -> Path:
        """The path of the upload."""
        return self.folder / "video"

    @property
    def video(self) -> Path:
        """The path of the file after its content was recognised as a picture or a video."""
        return self.folder / "picture.jpg" if self.is_picture else self.upload

    @property
    def has_ended(self) -> bool:
        return self.state in (FINISHED, FAILED)

    @property
    def files(self) -> list[str]:
        """Return the names of the result files."""
        return [name for name in FILES if self.state == FINISHED and (self.folder / name).exists()]

    def as_json(self) -> dict[str, Any]:
        """Return what ``GET /api/videos/<id>`` shows; ``progress`` is None if the length is unknown."""
        progress = min(self.frames / (self.duration * self.fps), 1.0) if self.duration else None
        seconds = round(self.frames / self.fps, 1)  # of analysed video
        state = {"state": self.state, "error": self.error, "progress": progress}
        return state | {"seconds": seconds, "files": self.files}


class Jobs:
    """All jobs, a thread that analyses one after another, and a thread that removes abandoned ones."""

    def __init__(self, predictor: Predictor, root: Path, minutes: float, forget_after: float = 180.0) -> None:
        """``root``: a new folder. ``minutes``: the longest video. ``forget_after``: seconds without a request until
        a video is removed."""
        self.predictor, self.root, self.minutes, self.forget_after = predictor, root, minutes, forget_after
        root.mkdir(mode=0o700)
        self.jobs: dict[str, Job] = {}
        self.lock = threading.Lock()
        self.queue: queue.Queue[Job | None] = queue.Queue()
        self.closing = threading.Event()
        self.worker = threading.Thread(target=self._work, daemon=True)
        self.worker.start()
        threading.Thread(target=self._remove_abandoned, daemon=True).start()

    def begin(self, has_overlay: bool = True) -> Job:
        """Return a new job, or refuse if there is no room for one more video."""
        with self.lock:
            busy = sum(job.state in (UPLOADING, WAITING, WORKING) for job in self.jobs.values())
            if self.closing.is_set():
                raise Refusal(503, "The server is stopping.")
            if busy >= AT_ONCE:
                raise Refusal(503, f"{AT_ONCE} other videos are being sent or analysed. Try again in a minute.")
            if len(self.jobs) >= 2 * AT_ONCE:
                wait = f"{self.forget_after:.0f} seconds"
                raise Refusal(503, f"Answers of other videos were not fetched yet; after {wait} they are removed.")
            job = Job(secrets.token_urlsafe(24), self.root / secrets.token_hex(8), has_overlay=has_overlay)
            job.folder.mkdir(mode=0o700)
            self.jobs[job.id] = job
        return job

    def submit(self, job: Job) -> None:
        """Check a video or a picture that has arrived, and queue it."""
        if is_picture(job.upload):
            job.is_picture = True
            job.upload.rename(job.video)
        try:
            with open_video(str(job.video)) as video:
                job.duration, job.fps = video.duration, video.fps
        except UserError as error:
            raise Refusal(422, message_for_sender(error, job)) from None
        if job.duration is not None and job.duration > 60 * self.minutes:
            raise Refusal(422, f"This video lasts {duration_text(job.duration)}; {self._limit()}")
        if max(video.width, video.height) > LARGEST_SIDE:
            raise Refusal(
                422, f"Its pictures are {video.width} × {video.height}; at most {LARGEST_SIDE} a side are read."
            )
        with self.lock:
            job.last_request = time.monotonic()
            job.state = WAITING
        self.queue.put(job)

    def find(self, id: str) -> Job:
        with self.lock:
            job = self.jobs.get(id)
            if job is None:
                raise Refusal(404, "There is no such video. Results are removed after they are fetched.")
            job.last_request = time.monotonic()
        return job

    def remove(self, job: Job) -> None:
        """Remove a job at once, or as soon as its analysis has stopped."""
        with self.lock:
            self.jobs.pop(job.id, None)
            job.is_cancelled = True
            if job.state != WORKING:
                shutil.rmtree(job.folder, ignore_errors=True)

    def close(self) -> None:
        """Stop all work and remove all folders."""
        self.closing.set()
        for job in list(self.jobs.values()):
            self.remove(job)
        self.queue.put(None)
        self.worker.join(timeout=30)

    def _work(self) -> None:
        while (job := self.queue.get()) is not None:
            with self.lock:
                if job.is_cancelled:
                    continue
                job.state = WORKING
            error = self._analyse(job)
            with self.lock:
                job.error = error  # set before the state, which is read without the lock
                job.state = FAILED if error else FINISHED
                job.last_request = time.monotonic()
                job.video.unlink(missing_ok=True)
                if job.is_cancelled or error:
                    shutil.rmtree(job.folder, ignore_errors=True)

    def _analyse(self, job: Job) -> str:
        """Write the result into the job's folder; return an error message, or an empty text."""
        longest = 60 * self.minutes  # seconds
        too_long = f"This video is longer than its file states; {self._limit()}"

        def has_too_many_frames() -> bool:
            return job.frames > longest * job.fps + 1

        def stop() -> bool:  # asked before every frame
            job.frames += 1
            return job.is_cancelled or has_too_many_frames()

        try:
            # The page draws the timeline itself, and the controls of its player would cover a strip.
            options = {"overlay": job.has_overlay, "strip": False, "longest": longest + 1, "stop": stop}
            self.predictor.record(str(job.video), job.folder, **options)
        except TooLong:
            return too_long
        except UserError as error:
            return message_for_sender(error, job)
        except Exception:
            traceback.print_exc()
            return BROKEN
        return too_long if has_too_many_frames() else ""

    def _limit(self) -> str:
        return f"at most {duration_text(60 * self.minutes)} are analysed here."

    def _remove_abandoned(self) -> None:
        """Remove the jobs of closed pages, which send no more requests."""
        while not self.closing.wait(min(1.0, self.forget_after / 4)):
            now = time.monotonic()
            for job in [job for job in list(self.jobs.values()) if job.state != UPLOADING]:
                if now - job.last_request > self.forget_after:
                    self.remove(job)


def is_picture(path: Path) -> bool:
    """Return whether a file starts like a supported picture. An AVI starts like a WebP except for its type."""
    with open(path, "rb") as file:
        kind = file.read(12)[8:]
    return begins_like_an_image(path) and kind != b"AVI "


def message_for_sender(error: UserError, job: Job) -> str:
    """Return the error as a sentence about "this file", without the path that it has here."""
    message = str(error).replace(f"{job.video}: ", "").replace(str(job.video), "this file")
    return f"{message[:1].upper()}{message[1:]}{'' if message.endswith(('.', '?')) else '.'}"


def duration_text(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.1f} minutes"
