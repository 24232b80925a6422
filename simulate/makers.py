"""The steps of making a set, for each kind of settings: plan, draw, annotate, and tell about it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simulate.affwild2 import VideoSettings, annotate_videos, draw_video, plan_videos, tell_about_videos
from simulate.layouts import LayoutSettings, annotate_layout, draw_shown, plan_layout
from simulate.plan import Settings, Slot, plan_set
from simulate.raer import draw_files, tell_about, write_annotation

AnySettings = Settings | LayoutSettings | VideoSettings
NOTE = (
    "Drawings of simulated people, labelled with what they were drawn to show; "
    "they support no claim about the published set or people."
)


@dataclass(frozen=True)
class Maker:
    """Four functions; drawing and annotating know each other's records, the writer does not look into them."""

    plan: Callable[[AnySettings], list[Slot]]
    draw: Callable[[AnySettings, Slot], tuple[object, dict[str, bytes]]]  # a record, and files by path
    annotate: Callable[[Path, AnySettings, list], None]
    about: Callable[[AnySettings], dict]


def maker_of(settings: AnySettings) -> Maker:
    """RAER's layout has annotators and votes, Aff-Wild2's labels every frame; the other layouts share one way."""
    return MAKERS[type(settings)]


def _tell_about(settings: LayoutSettings) -> dict:
    return {"note": NOTE, "paths": settings.rules.paths, "classes": settings.rules.classes}


MAKERS = {
    Settings: Maker(plan_set, draw_files, write_annotation, tell_about),
    LayoutSettings: Maker(plan_layout, draw_shown, annotate_layout, _tell_about),
    VideoSettings: Maker(plan_videos, draw_video, annotate_videos, tell_about_videos),
}
