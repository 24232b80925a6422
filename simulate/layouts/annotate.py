"""Which module writes the lists of which layout."""

from pathlib import Path

from simulate.layouts.caer import annotate_caer, annotate_caer_s
from simulate.layouts.daisee import annotate_daisee
from simulate.layouts.dfew import annotate_dfew
from simulate.layouts.ferv39k import annotate_ferv39k
from simulate.layouts.mafw import annotate_mafw
from simulate.layouts.settings import LayoutSettings
from simulate.layouts.shown import Shown

ANNOTATE = {
    "dfew": annotate_dfew,
    "ferv39k": annotate_ferv39k,
    "mafw": annotate_mafw,
    "caer": annotate_caer,
    "caer-s": annotate_caer_s,
    "daisee": annotate_daisee,
}


def annotate_layout(root: Path, settings: LayoutSettings, clips: list[Shown]) -> None:
    """All that lies beside the frames; AFEW has its labels in its folders and nothing else."""
    if settings.layout in ANNOTATE:
        ANNOTATE[settings.layout](root, settings, clips)
