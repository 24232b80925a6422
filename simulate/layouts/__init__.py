"""Sets in the layouts of published ones, RAER's apart: what is in them, drawing them, writing their lists."""

from simulate.layouts.annotate import annotate_layout
from simulate.layouts.draw import draw_shown
from simulate.layouts.plan import plan_layout
from simulate.layouts.settings import LayoutSettings
from simulate.layouts.table import LAYOUTS

__all__ = ["LAYOUTS", "LayoutSettings", "annotate_layout", "draw_shown", "plan_layout"]
