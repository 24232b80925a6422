"""The body around a face: an upper-body detection that fits it, else a proportion of the face."""

from collections.abc import Sequence

from dataloader.boxes import Box

# Of the face box (brow to chin), as the drawn students' true boxes have it: someone seated at a desk, which hides what
# is below the chest. A seated adult measures more, about 46 cm across the upper arms and 14 cm across the cheekbones
# (1.6 face widths on each side), and from chin to elbow 2.4 of the face's height; boxes of that size cost the demo
# weights 9 points of UAR on held out students, since they were trained on the others.
SIDE, ABOVE, BELOW = 1.2, 0.2, 1.3
NARROWEST, WIDEST = 1.5, 5.0  # an upper body in face widths
HEAD = 0.6  # the centre of the face lies in this upper part of an upper body


def body_box(face: Box | None, bodies: Sequence[Sequence[float]], width: int, height: int) -> Box | None:
    """Inside the frame; None where there is neither a face nor a body. ``bodies``: surest first."""
    if face is None:
        return inside(tuple(bodies[0][:4]), width, height) if bodies else None
    body = around(face)
    fitting = next((tuple(b[:4]) for b in bodies if fits(face, tuple(b[:4]))), None)
    if fitting is not None:
        body = fitting[0], min(fitting[1], face[1]), fitting[2], max(fitting[3], body[3])
    return inside(body, width, height)


def around(face: Box) -> Box:
    """The proportion of the face."""
    left, top, right, bottom = face
    wide, high, middle = right - left, bottom - top, (left + right) / 2
    return middle - SIDE * wide, top - ABOVE * high, middle + SIDE * wide, bottom + BELOW * high


def fits(face: Box, body: Box) -> bool:
    """Whether the body can be that of the face: the cascade often errs, its size and place tell."""
    wide, x, y = face[2] - face[0], (face[0] + face[2]) / 2, (face[1] + face[3]) / 2
    third = (body[2] - body[0]) / 3
    is_beneath = body[1] < y < body[1] + HEAD * (body[3] - body[1])
    return NARROWEST * wide < 3 * third < WIDEST * wide and body[0] + third < x < body[2] - third and is_beneath


def inside(box: Box, width: int, height: int) -> Box:
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
