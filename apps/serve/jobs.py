"""Videos that were sent: each has a folder until its answer is fetched; one is analysed at a time."""

import queue
import secrets
import shutil
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apps.predict.outputs import record
from dataloader.video import TooLong, open_video
from utils.errors import UserError

FILES = ("timeline.json", "timeline.csv", "timeline.png", "overlay.mp4")
AT_ONCE = 2  # videos being sent, waiting or analysed; as many answers again may wait to be fetched
LARGEST_SIDE = 8192  # pixels: one frame of more would take hundreds of megabytes
UPLOADING, WAITING, WORKING, DONE, FAILED = "uploading", "waiting", "working", "done", "failed"
BROKEN = "The analysis failed inside the program; what happened stands in the terminal that it runs in."


class Refused(Exception):
    """What is said to whoever sent the video; ``status`` as in HTTP."""

    def __init__(self, status: int, told: str) -> None:
        super().__init__(told)
        self.status = status


@dataclass
class Job:
    """One video from its first byte to the removal of its folder."""

    id: str
    folder: Path
    state: str = UPLOADING
    told: str = ""  # why it failed
    duration: float | None = None  # seconds, where the file says
    fps: float = 25.0
    frames: int = 0  # analysed so far
    asked: float = field(default_factory=time.monotonic)  # when somebody last wanted to know
    cancelled: bool = False

    @property
    def video(self) -> Path:
        return self.folder / "video"

    def as_json(self) -> dict[str, Any]:
        share = self.frames / (self.duration * self.fps) if self.duration else None
        files = [name for name in FILES if self.state == DONE and (self.folder / name).exists()]
        return {
            "state": self.state,
            "error": self.told,
            "progress": None if share is None else min(share, 1.0),
            "seconds": round(self.frames / self.fps, 1),
            "files": files,
        }


class Jobs:
    """``root``: an empty folder. Whoever closes it leaves nothing there."""

    def __init__(self, predictor: Any, root: Path, minutes: float, forget_after: float = 180.0) -> None:
        """``forget_after``: seconds without a question until a video is given up and removed."""
        self.predictor, self.root, self.minutes, self.forget_after = predictor, root, minutes, forget_after
        self.jobs: dict[str, Job] = {}
        self.lock = threading.Lock()
        self.waiting: queue.Queue[Job | None] = queue.Queue()
        self.closing = threading.Event()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._work, self._sweep)]
        for thread in self.threads:
            thread.start()

    def begin(self) -> Job:
        """Room for one more video, or the reason why there is none."""
        with self.lock:
            busy = sum(job.state in (UPLOADING, WAITING, WORKING) for job in self.jobs.values())
            if busy >= AT_ONCE or len(self.jobs) >= 2 * AT_ONCE or self.closing.is_set():
                raise Refused(503, "Another video is being analysed. Try again in a minute.")
            job = Job(secrets.token_urlsafe(24), self.root / secrets.token_hex(8))
            job.folder.mkdir(mode=0o700)
            self.jobs[job.id] = job
        return job

    def submit(self, job: Job) -> None:
        """A video that has arrived: looked at now, analysed in turn."""
        self._inspect(job)
        with self.lock:
            job.asked = time.monotonic()
            job.state = WAITING
        self.waiting.put(job)

    def find(self, id: str) -> Job:
        with self.lock:
            job = self.jobs.get(id)
            if job is None:
                raise Refused(404, "There is no such video (any more): answers are removed once they are fetched.")
            job.asked = time.monotonic()
        return job

    def remove(self, job: Job) -> None:
        """At once, or, where it is being analysed, as soon as that has stopped."""
        with self.lock:
            self.jobs.pop(job.id, None)
            job.cancelled = True
            if job.state != WORKING:
                shutil.rmtree(job.folder, ignore_errors=True)

    def close(self) -> None:
        """Stops what runs; the folders are gone when it returns."""
        self.closing.set()
        for job in list(self.jobs.values()):
            self.remove(job)
        self.waiting.put(None)
        self.threads[0].join(timeout=30)

    def _inspect(self, job: Job) -> None:
        try:
            with open_video(str(job.video)) as video:
                job.duration, job.fps = video.duration, video.fps
                size = video.width, video.height
        except UserError as error:
            raise Refused(422, said(error, job)) from None
        if job.duration is not None and job.duration > 60 * self.minutes:
            raise Refused(422, f"This video lasts {spoken(job.duration)}; {self._most()}")
        if max(size) > LARGEST_SIDE:
            raise Refused(422, f"Its pictures are {size[0]} × {size[1]}; at most {LARGEST_SIDE} a side are read.")

    def _work(self) -> None:
        while (job := self.waiting.get()) is not None:
            with self.lock:
                if job.cancelled:
                    continue
                job.state = WORKING
            state, told = self._analyse(job)
            with self.lock:
                job.state, job.told, job.asked = state, told, time.monotonic()
                job.video.unlink(missing_ok=True)
                if job.cancelled or state == FAILED:
                    shutil.rmtree(job.folder, ignore_errors=True)

    def _analyse(self, job: Job) -> tuple[str, str]:
        """What became of it, and why."""
        most, longest = 60 * self.minutes * job.fps + 1, 60 * self.minutes + 1  # frames, seconds
        too_long = f"This video is longer than it says; {self._most()}"

        def stop() -> bool:  # asked before every frame
            job.frames += 1
            return job.cancelled or job.frames > most

        try:
            record(self.predictor, str(job.video), job.folder, longest=longest, stop=stop)
        except TooLong:
            return FAILED, too_long
        except UserError as error:
            return FAILED, said(error, job)
        except Exception:
            traceback.print_exc()
            return FAILED, BROKEN
        if job.frames > most:
            return FAILED, too_long
        return DONE, ""

    def _most(self) -> str:
        return f"at most {spoken(60 * self.minutes)} are analysed here."

    def _sweep(self) -> None:
        """Pages that were closed ask no more."""
        while not self.closing.wait(min(1.0, self.forget_after / 4)):
            now = time.monotonic()
            for job in [job for job in list(self.jobs.values()) if job.state != UPLOADING]:
                if now - job.asked > self.forget_after:
                    self.remove(job)


def said(error: UserError, job: Job) -> str:
    """The same about "this file": where it lies means nothing to whoever sent it."""
    told = str(error).replace(f"{job.video}: ", "").replace(str(job.video), "this file")
    return f"{told[:1].upper()}{told[1:]}{'' if told.endswith(('.', '?')) else '.'}"


def spoken(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.1f} minutes"
