"""The checkpoints of a run: ``best.pt``, which needs nothing but itself, and ``last.pt``, from which a run goes on."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dataloader.annotation import Clip, set_note
from dataloader.classes import Classes
from dataloader.clips import Views
from dataloader.frames import hash_files
from engine.options import Config
from engine.session import Session
from engine.shared import remembered
from utils.checkpoint import FORMAT, halve_where_exact, hash_tensors, save_checkpoint, to_full
from utils.errors import UserError

TOWERS = ("image_encoder", "text_encoder", "token_embedding")  # of CLIP: in its file already


@dataclass
class Progress:
    """How far a run is: ``epoch`` complete epochs, and ``step`` batches of the next.

    The names are those in checkpoints.
    """

    epoch: int = 0
    step: int = 0
    seen: dict[str, Any] | None = None  # scores of those batches
    random: dict[str, torch.Tensor] | None = None  # the random state after them
    best: dict[str, Any] = field(default_factory=lambda: {"uar": -1.0, "epoch": 0})
    history: list[dict[str, Any]] = field(default_factory=list)

    def goes_on(self, epochs: int, patience: int) -> bool:
        """Return whether another epoch is due; ``patience`` 0 has no end."""
        return self.epoch < epochs and not 0 < patience <= self.epoch - self.best["epoch"]


@dataclass
class ResumePoint:
    """A checkpoint to go on from."""

    path: Path
    content: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.path.parent


@dataclass
class Start:
    """What a training starts with.

    ``folder``: the run folder that it goes on in, None where a new one is made; ``messages``: for the user.
    """

    config: Config
    resume_point: ResumePoint | None = None
    folder: Path | None = None
    messages: Sequence[str] = ()


def checkpoint_facts(
    config: Config, classes: Sequence[str], label_base: int, selected_on: str, shape: dict[str, int]
) -> dict[str, Any]:
    """Return what every checkpoint says besides its tensors and its epoch."""
    return {
        "format": FORMAT,
        "family": config.model.model,
        "config": asdict(config),
        "classes": list(classes),
        "label_base": label_base,
        "clip_shape": shape,
        "selected_on": selected_on,
    }


def dataset_facts(root: str | None, face_width: float | None) -> dict[str, Any]:
    """Return what a checkpoint says of the data set that it was trained on, as far as that is known."""
    facts = {"trained_on": set_note(root) or None, "face_width": face_width}
    return {name: value for name, value in facts.items() if value is not None}


class RunCheckpoints:
    """Writes and reads the state of one training."""

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        learning: dict[str, Any],
        classes: Classes,
        shape: dict[str, int],
        data: str,
        selected_on: str,
        session: Session,
        face_width: float | None = None,
        frames: str | None = None,
    ) -> None:
        """Prepare to save.

        ``learning``: what has a state besides the model (optimizer, schedule, scaler). ``data``: a hash of what the
        epochs depend on. ``face_width``: median width of the face boxes in pixels. ``frames``: ``hash_frames`` of the
        clips, or a hash of what a run reads in the place of frames.
        """
        self.model, self.learning, self.folder = model, learning, session.log.folder
        self.writes = session.group.is_main
        self.frozen = {
            tower: hash_tensors(tensors)
            for tower, tensors in ((tower, tensors_below(model, tower)) for tower in TOWERS)
            if tensors and not any(p.requires_grad for n, p in model.named_parameters() if n.startswith(f"{tower}."))
        }
        self.order, self.frames = data, frames
        self.about = checkpoint_facts(config, classes.names, classes.label_base, selected_on, shape)
        self.about |= dataset_facts(config.data.root_dir, face_width)

    def save_best(self, progress: Progress) -> None:
        self._require_finite()
        if not self.writes:
            return
        state = halve_where_exact(self.model.state_dict())
        save_checkpoint(self._content(state, progress), self.folder / "best.pt")

    def save_last(self, progress: Progress) -> None:
        """Write last.pt without the frozen towers: the CLIP file holds them, and a hash says whether it is the same."""
        self._require_finite()
        if not self.writes:
            return
        state = {key: value for key, value in self.model.state_dict().items() if key.split(".")[0] not in self.frozen}
        resumable = {
            "left_out": self.frozen,
            "progress": asdict(progress),
            # without the milestones of a schedule: they are a Counter, and stand in the config
            "learning": {
                name: {key: value for key, value in part.state_dict().items() if key != "milestones"}
                for name, part in self.learning.items()
            },
            "train_list": self.order,
            "frames": self.frames,
        }
        save_checkpoint(self._content(state, progress) | resumable, self.folder / "last.pt", keep_previous=True)

    def restore(self, point: ResumePoint) -> Progress:
        """Restore everything as it was when ``point`` was saved; return the progress."""
        content, source = point.content, point.path
        if content["train_list"] != self.order:
            raise UserError(
                f"{source}: the lists or boxes are not those that it was trained on; it cannot be continued"
            )
        before = content.get("frames")  # checkpoints of older versions lack it
        if None not in (before, self.frames) and before != self.frames:
            raise UserError(
                f"{source}: the frames or features have changed since: their files hold something else than those "
                f"that it was trained on; it cannot be continued"
            )
        if content["left_out"] != self.frozen:
            raise UserError(f"{source}: --clip-path holds other weights than the run was started with")
        try:
            keys = self.model.load_state_dict(to_full(content["model"]), strict=False)
            missing = [key for key in keys.missing_keys if key.split(".")[0] not in self.frozen]
            if missing or keys.unexpected_keys:
                raise KeyError(*missing[:2], *keys.unexpected_keys[:2])
            for name, part in self.learning.items():
                if name == "scaler" and not content["learning"][name]:
                    continue  # begun in float32, as on a CPU: float16 begins here, with the scale of a new run
                part.load_state_dict(content["learning"][name])
            return Progress(**content["progress"])
        except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{source}: does not fit this run ({' '.join(str(error).split())[:120]})") from None

    def _content(self, state: dict[str, torch.Tensor], progress: Progress) -> dict[str, Any]:
        return self.about | {"model": state, "epoch": progress.epoch, "best": progress.best}

    def _require_finite(self) -> None:
        learning = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        infinite = [name for name, p in learning.items() if not torch.isfinite(p).all()]
        if infinite:
            raise UserError(
                f"{infinite[0]} and {len(infinite) - 1} more tensors are not finite any more; the checkpoint before "
                f"this one is kept in {self.folder}; lower --lr or set --grad-clip 1"
            )


def tensors_below(model: nn.Module, part: str) -> dict[str, torch.Tensor]:
    """Return the tensors of one part of the model, under the names that they have inside it."""
    state = model.state_dict()
    return {name.removeprefix(f"{part}."): value for name, value in state.items() if name.split(".")[0] == part}


def hash_data(clips: list[Clip], views: Views) -> str:
    """Return a hash of what the epochs depend on: clips, their order, labels, boxes and captions."""
    digest = hashlib.sha256()
    for clip in clips:
        boxes = views.face_boxes.get(clip.key), views.body_boxes.get(clip.key)
        caption = [] if clip.caption is None else [clip.caption]
        digest.update(json.dumps([clip.key, clip.label, len(clip.frames), boxes, *caption]).encode())
    return digest.hexdigest()


def hash_frames(clips: list[Clip], views: Views) -> str | None:
    """Return a hash of samples of the clips' frame files; None where a pack stands in for them, which has its own."""
    if views.pack:
        return None
    frames = tuple((clip.folder, clip.frames) for clip in clips)
    return remembered("frame contents", frames, lambda: hash_files([path for clip in clips for path in clip.paths]))
