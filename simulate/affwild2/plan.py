"""Which videos there are, in which set, and which tasks label them. No drawing here."""

from dataloader.frame_labels import TASKS
from simulate.affwild2.settings import VideoSettings
from simulate.layouts.streams import PLAN, stream
from simulate.place import PLACES
from simulate.plan import Slot

FRAMES_FOLDER = "cropped_aligned"
SETS = {"train": "Train_Set", "validation": "Validation_Set"}
UNLABELLED_SHARE = 0.15  # of the single videos of a set, for each task others


def plan_videos(settings: VideoSettings) -> list[Slot]:
    """The slots of both sets, a pair in each; a pure function of the settings."""
    rng = stream(settings, PLAN)
    sizes = {"train": settings.clips - settings.validation_videos, "validation": settings.validation_videos}
    videos = [name for name, size in sizes.items() for name in [name] * (size - 1)]  # a pair is one video
    pairs = {videos.index(name) for name in sizes}
    slots: list[Slot] = []
    for number, video in enumerate(rng.permutation(len(videos)).tolist(), 1):
        place = PLACES[rng.integers(len(PLACES))]
        for side in ("_left", "_right") if video in pairs else ("",):
            folder = f"{FRAMES_FOLDER}/{number:03d}{side}"
            slots.append(Slot(len(slots), videos[video], len(slots), place, 0, folder))
    return slots


def id_of(slot: Slot) -> str:
    return slot.folder.rpartition("/")[2]


def is_single(slot: Slot) -> bool:
    return not id_of(slot).endswith(("_left", "_right"))


def video_number(slot: Slot) -> int:
    """Both persons of a video have the same."""
    return int(id_of(slot)[:3])


def choose_labelled(settings: VideoSettings, slots: list[Slot]) -> dict[str, list[Slot]]:
    """The videos that each task labels: as in the challenge, not the same for all."""
    left_out: dict[str, set[int]] = {task: set() for task in TASKS}
    for number, name in enumerate(SETS, 1):
        singles = [slot.number for slot in slots if slot.list_name == name and is_single(slot)]
        count = min(max(1, round(UNLABELLED_SHARE * len(singles))), len(singles) // len(TASKS))
        order = stream(settings, PLAN, number).permutation(singles).tolist()
        for place, task in enumerate(TASKS):
            left_out[task] |= set(order[place * count : (place + 1) * count])
    return {task: [slot for slot in slots if slot.number not in out] for task, out in left_out.items()}
