"""One clip from its slot: behaviour, frames, the face cut out where the layout says so, and what can be told of it."""

import cv2
import numpy as np

from simulate.basic import Temper, draw_emotions, draw_temper
from simulate.boxes import Box, clip_box, face_of, frame_name
from simulate.change import find_apex, read_change
from simulate.engagement import Levels, draw_learner, draw_levels
from simulate.identity import draw_identity
from simulate.layouts.layout import Layout
from simulate.layouts.settings import LayoutSettings
from simulate.layouts.shown import Shown
from simulate.layouts.streams import BEHAVIOUR, LEVELS, NOISE, PERSON, SCENE, stream
from simulate.moment import Moment
from simulate.plan import Slot
from simulate.portrait import SCENE_SIZE, crop_portraits
from simulate.scene import Scene, encode_jpeg

STILL_FRAMES = 12  # of the clip whose apex becomes a single picture


def draw_shown(settings: LayoutSettings, slot: Slot) -> tuple[Shown, dict[str, bytes]]:
    """A pure function of its arguments: the record of the clip, and its image files by path."""
    person = stream(settings, PERSON, slot.person)
    identity, temper = draw_identity(person), draw_temper(person)
    layout, levels = settings.rules, _levels(settings, slot)
    moments = _behave(settings, slot, temper, levels)
    size = SCENE_SIZE if layout.is_cropped else settings.scene_size
    scene = Scene(identity, slot.place, stream(settings, SCENE, slot.number), *size)
    noise = stream(settings, NOISE, slot.number)
    drawn = [scene.draw(moment, noise)[:2] for moment in moments]
    pictures, heads = [picture for picture, _ in drawn], [head for _, head in drawn]
    if layout.is_cropped:
        pictures = crop_portraits(pictures, heads)
    shown = Shown(slot, moments, read_change(scene, moments), _face_box(heads, *size), levels)
    return shown, _encode(layout, slot, pictures, scene.camera.quality)


def _levels(settings: LayoutSettings, slot: Slot) -> Levels | None:
    """The four affects of a clip that is labelled with its engagement; other clips show emotions."""
    return None if settings.rules.emotions else draw_levels(slot.label, stream(settings, LEVELS, slot.number))


def _behave(settings: LayoutSettings, slot: Slot, temper: Temper, levels: Levels | None) -> tuple[Moment, ...]:
    layout, rng = settings.rules, stream(settings, BEHAVIOUR, slot.number)
    length = int(rng.choice((12, 14, 16, 18, 20), p=(0.08, 0.14, 0.5, 0.16, 0.12)))
    frames = STILL_FRAMES if layout.is_still else settings.frames or length
    if levels is not None:
        return draw_learner(levels, frames, temper, rng)
    labels = (slot.label,) if slot.blend is None else (slot.label, slot.blend)
    moments = draw_emotions(tuple(layout.emotions[label] for label in labels), frames, temper, rng)
    return (moments[find_apex(moments)],) if layout.is_still else moments


def _face_box(heads: list[Box], width: int, height: int) -> list[int]:
    """Around the face wherever it goes in the clip."""
    faces = np.array([face_of(head) for head in heads])
    whole = (*faces[:, :2].min(0).tolist(), *faces[:, 2:].max(0).tolist())
    return [round(edge) for edge in clip_box(whole, width, height)]


def _encode(layout: Layout, slot: Slot, pictures: list[np.ndarray], quality: int) -> dict[str, bytes]:
    if layout.is_still:
        return {slot.folder: cv2.imencode(".png", pictures[0][..., ::-1])[1].tobytes()}
    encoded = [encode_jpeg(picture, quality) for picture in pictures]
    return {f"{slot.folder}/{frame_name(number)}": data for number, data in enumerate(encoded, start=1)}
