"""A person's looks: skin, hair, glasses, build and wardrobe, all independent of emotions."""

import numpy as np

from simulate.canvas import Colour, shade

SKINS = ((250, 221, 196), (241, 200, 165), (228, 180, 140), (205, 150, 108), (164, 112, 76), (118, 78, 54))
HAIR_COLOURS = ((38, 30, 28), (62, 43, 33), (96, 62, 40), (140, 92, 52), (196, 156, 92), (150, 66, 38), (54, 50, 66))
HAIRS = ("short", "fringe", "parted", "curly", "long", "bob", "bun")
EYE_COLOURS = ((70, 46, 32), (92, 62, 38), (60, 92, 120), (74, 104, 70))
CLOTHES = ("t-shirt", "shirt", "hoodie", "striped jumper", "jumper")
CLOTH_COLOURS = (
    (196, 62, 58), (52, 98, 160), (64, 132, 92), (232, 186, 72), (120, 88, 150), (236, 236, 230),
    (58, 64, 78), (224, 130, 90), (110, 170, 190), (214, 148, 170), (140, 146, 100), (92, 70, 60),
)  # fmt: skip
FRAME_COLOURS = ((34, 34, 40), (110, 66, 36), (150, 40, 50), (60, 70, 110))


class Outfit:
    """A random set of clothes."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.kind = str(rng.choice(CLOTHES))
        self.colour, self.second = pick_colour(CLOTH_COLOURS, rng), pick_colour(CLOTH_COLOURS, rng)


class Identity:
    """A random person: what stays the same over all clips."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.skin = pick_colour(SKINS, rng)
        self.hair = str(rng.choice(HAIRS))
        self.hair_colour = pick_colour(HAIR_COLOURS, rng)
        self.glasses = str(rng.choice(("none", "round", "square"), p=(0.6, 0.2, 0.2)))
        self.glasses_colour = pick_colour(FRAME_COLOURS, rng)
        self.eye_colour = pick_colour(EYE_COLOURS, rng)
        self.brow_width = rng.uniform(0.8, 1.25)
        self.face_width = rng.uniform(0.93, 1.08)
        self.face_height = rng.uniform(0.95, 1.05)
        self.eye_size = rng.uniform(0.92, 1.12)
        self.build = rng.uniform(0.9, 1.14)
        self.wardrobe = [Outfit(rng) for _ in range(3)]


def pick_colour(colours: tuple[Colour, ...], rng: np.random.Generator, low: float = 0.92, high: float = 1.06) -> Colour:
    """Return one of ``colours``, a little lighter or darker."""
    return shade(colours[rng.integers(len(colours))], rng.uniform(low, high))
