"""How many folds paths with ``{fold}`` in them have on the disk."""

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from dataloader.classes import read_json
from dataloader.paths import resolve_path

PLACE = "{fold}"
MADE = "folds.json"  # beside folds that python -m dataloader.audit made


def count_folds(paths: Iterable[str], root: str | None, stated: int) -> int:
    """The number that made folds were made with; else the highest on the disk, but no fewer than the set states."""
    paths = [path for path in paths if PLACE in path]
    made = next(filter(None, (_made(path, root) for path in paths)), None)
    return made or max([stated, *(number for path in paths for number in numbers_on_disk(path, root))])


def numbers_on_disk(path: str, root: str | None) -> list[int]:
    """Numbers from 1 for which the path leads somewhere."""
    begin, *rest = path.split(PLACE)
    pattern = "*".join(map(glob.escape, [begin, *rest]))
    places = [str(Path(root) / pattern), pattern] if root else [pattern]
    same = re.escape(begin) + "([1-9][0-9]{0,2})" + r"\1".join(map(re.escape, rest))
    found = (re.search(same + "$", name) for place in places for name in glob.glob(place))
    return sorted({int(match[1]) for match in found if match})


def _made(path: str, root: str | None) -> int | None:
    parts = Path(path).parts
    above = Path(*parts[: next(place for place, part in enumerate(parts) if PLACE in part)])
    file = resolve_path(str(above / MADE), root)
    stored = read_json(file) if file.is_file() else None
    number = stored.get("folds") if isinstance(stored, dict) else None
    return number if isinstance(number, int) and 1 < number < 1000 else None
