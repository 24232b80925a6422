"""The steps of making a set, for each kind of settings: plan, draw, annotate, and tell about it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .layouts import LayoutSettings, annotate_layout, draw_shown, plan_layout
from .plan import Settings, Slot, plan_set
from .raer import draw_files, tell_about, write_annotation

NOTE = (
    "Drawings of simulated people, labelled with what they were drawn to show; "
    "they support no claim about the published set or people."
)


@dataclass(frozen=True)
class Maker:
    """Four functions; drawing and annotating know each other's records, the writer does not look into them."""

    plan: Callable[[Settings | LayoutSettings], list[Slot]]
    draw: Callable[[Settings | LayoutSettings, Slot], tuple[object, dict[str, bytes]]]  # a record, and files by path
    annotate: Callable[[Path, Settings | LayoutSettings, list], None]
    about: Callable[[Settings | LayoutSettings], dict]


def maker_of(settings: Settings | LayoutSettings) -> Maker:
    """RAER's layout has annotators and votes; the other layouts share one way."""
    return RAER if isinstance(settings, Settings) else OTHERS


def _tell_about(settings: LayoutSettings) -> dict:
    return {"note": NOTE, "paths": settings.rules.paths, "classes": settings.rules.classes}


RAER = Maker(plan_set, draw_files, write_annotation, tell_about)
OTHERS = Maker(plan_layout, draw_shown, annotate_layout, _tell_about)
