"""One colour a class, the same in every picture, told apart by colour-blind eyes (after Okabe and Ito)."""

import colorsys
from collections.abc import Sequence

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
NEUTRAL, UNCERTAIN_COLOUR, NOTHING = "#8C8C8C", "#D9D9D9", "#FFFFFF"


def class_colours(names: Sequence[str]) -> dict[str, str]:
    """``#rrggbb`` of each class; a neutral one is grey, and those beyond the seventh are lighter or darker again."""
    colours, place = {}, 0
    for name in names:
        if name.lower().startswith("neutral") and NEUTRAL not in colours.values():
            colours[name] = NEUTRAL
            continue
        turn, index = divmod(place, len(COLOURS))
        colours[name] = shade(COLOURS[index], turn)
        place += 1
    return colours


def shade(colour: str, turn: int) -> str:
    """0 leaves it as it is, odd turns darken, even ones lighten."""
    if turn == 0:
        return colour
    hue, light, full = colorsys.rgb_to_hls(*(value / 255 for value in rgb(colour)))
    step = 0.14 * ((turn + 1) // 2)
    light = max(light - step, 0.1) if turn % 2 else min(light + step, 0.9)
    return "#" + "".join(f"{round(255 * value):02X}" for value in colorsys.hls_to_rgb(hue, light, full))


def rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
