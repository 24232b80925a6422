"""The eleven basic and complex emotions as movements of face, head and body: latent, size, and how often it takes part.

A size is what an emotion at full strength adds to a calm face. Sizes of ``SIDED`` latents are for a clip whose side is
the right of the picture; a clip draws its side. Neighbours share movements on purpose: fear and surprise the brows,
sadness and disappointment the gaze, anger and disgust the frown.
"""

from dataclasses import dataclass

SIDED = ("brow_tilt", "gaze_x", "yaw", "roll", "lean")


@dataclass(frozen=True)
class Action:
    """One movement of an emotion."""

    latent: str
    size: float
    chance: float = 1.0


def _actions(**sizes: float | tuple[float, float]) -> tuple[Action, ...]:
    return tuple(Action(name, *(size if isinstance(size, tuple) else (size,))) for name, size in sizes.items())


ACTIONS = {
    "anger": _actions(
        brow_furrow=0.9, brow_raise=-0.85, mouth_press=(0.9, 0.75), smile=-0.35, mouth_open=(0.4, 0.2),
        pitch=(6, 0.6), gaze_y=(-0.25, 0.6), forward=(0.7, 0.6), eyelid=0.08,
    ),
    "disgust": _actions(
        brow_furrow=0.55, brow_raise=-0.5, eyelid=-0.3, smile=-0.8, mouth_open=(0.3, 0.35), yaw=(18, 0.75),
        gaze_x=(-0.4, 0.4), pitch=(-8, 0.7), roll=(5, 0.4),
    ),
    "fear": _actions(
        brow_raise=0.8, brow_furrow=0.75, eyelid=0.3, mouth_open=(0.3, 0.8), smile=-0.4, pitch=(-6, 0.7), yaw=(10, 0.4),
        gaze_x=(0.5, 0.5), slump=(0.3, 0.5),
    ),
    "happiness": _actions(
        smile=0.95, eyelid=(-0.17, 0.8), brow_raise=(0.2, 0.4), mouth_open=(0.45, 0.5), pitch=(-4, 0.4), roll=(5, 0.3)
    ),
    "neutral": (),
    "sadness": _actions(
        smile=-0.8, gaze_y=(0.75, 0.85), pitch=(12, 0.85), brow_raise=(0.55, 0.7), brow_furrow=(0.3, 0.4), eyelid=-0.2,
        slump=(0.4, 0.6), roll=(6, 0.3),
    ),
    "surprise": _actions(
        brow_raise=1.0, eyelid=0.32, mouth_open=(0.7, 0.9), pitch=(-3, 0.4), forward=(0.4, 0.3), yaw=(6, 0.2)
    ),
    "contempt": _actions(
        brow_tilt=(1.0, 0.9), pitch=(-10, 0.8), yaw=(10, 0.6), gaze_x=(-0.5, 0.6), smile=(0.22, 0.6), roll=(-4, 0.5),
        mouth_press=(0.6, 0.5), eyelid=-0.17,
    ),
    "anxiety": _actions(
        brow_furrow=0.75, brow_raise=(0.25, 0.5), mouth_press=(0.75, 0.8), pitch=(4, 0.5), forward=(0.4, 0.4),
        slump=(0.3, 0.4), smile=(-0.2, 0.4),
    ),
    "helplessness": _actions(
        brow_raise=0.85, smile=-0.7, gaze_y=(-0.75, 0.8), roll=(12, 0.8), lean=(0.6, 0.6), mouth_open=(0.18, 0.3),
        pitch=(-4, 0.4),
    ),
    "disappointment": _actions(
        smile=-0.65, mouth_press=(0.75, 0.9), gaze_y=(0.55, 0.8), slump=(0.6, 0.8), pitch=(7, 0.6), eyelid=-0.14,
        brow_raise=(-0.35, 0.6), yaw=(14, 0.35),
    ),
}  # fmt: skip
EMOTION_NAMES = tuple(ACTIONS)  # in MAFW's order, the only set of these that has them all
HANDS_AT_FACE = {  # what a hand may do, and how often
    "disgust": (("mouth", 0.15),),
    "fear": (("mouth", 0.2), ("head", 0.1)),
    "sadness": (("palm", 0.2), ("eye", 0.1)),
    "surprise": (("mouth", 0.15),),
    "contempt": (("chin", 0.2),),
    "anxiety": (("mouth", 0.15), ("chin", 0.12), ("head", 0.08)),
    "helplessness": (("head", 0.25), ("palm", 0.1)),
    "disappointment": (("palm", 0.25),),
}
HABITS = (("palm", 0.05), ("chin", 0.05))  # whatever is felt
