"""What a layout is: its classes and lists, where a clip lies, and what its frames are."""

from collections.abc import Callable
from dataclasses import dataclass

from simulate.plan import Slot

FOLDS = ("1", "2", "3", "4", "5")
BLENDED_SHARE = 0.2  # of the clips of a layout with blends


@dataclass(frozen=True)
class Layout:
    """How one published set looks on disk."""

    classes: tuple[str, ...]  # as its lists and folders name them, in label order
    emotions: tuple[str, ...]  # the same in the words of ``actions.py``; none where engagement is shown
    lists: tuple[str, ...]  # every clip is in one of them; or five folds
    parent: Callable[[Slot], str]  # the folder that holds the clips like this one
    digits: int  # of the number of a clip in that folder
    paths: str  # how the paths in its lists lead to frames, for about.json
    is_cropped: bool = True  # faces; else whole frames
    is_still: bool = False  # one picture a clip
    has_blends: bool = False

    @property
    def has_folds(self) -> bool:
        return self.lists == FOLDS

    def single_clips(self, clips: int) -> int:
        """How many of a list's clips show one emotion alone."""
        return clips - round(clips * BLENDED_SHARE) if self.has_blends else clips
