"""Choose the source of crops: frame files or a pack."""

from typing import TYPE_CHECKING, Union

from dataloader.clips import FrameFiles, Views
from utils.lazy import Lazy

if TYPE_CHECKING:
    from dataloader.packed import Pack

packed = Lazy("dataloader.packed")  # most runs read no pack


def open_source(views: Views) -> Union[FrameFiles, "Pack"]:
    return packed.open_pack(views.pack) if views.pack else FrameFiles(views)
