"""Sets in the layouts of published ones, RAER's apart: what is in them, drawing them, writing their lists."""

from .annotate import annotate_layout
from .draw import draw_shown
from .plan import plan_layout
from .settings import LayoutSettings
from .table import LAYOUTS

__all__ = ["LAYOUTS", "LayoutSettings", "annotate_layout", "draw_shown", "plan_layout"]
