"""One moment of a student's behaviour: everything that moves in a drawing, and nothing that identifies the person."""

from dataclasses import dataclass

WORKS = ("book", "notebook", "laptop", "lesson")  # a lesson has nothing to read: the student listens
HANDS = ("desk", "page", "write", "type", "phone", "palm", "chin", "pen", "head", "mouth", "eye", "fiddle")


@dataclass(frozen=True)
class Moment:
    """The latent behaviour of one frame; left and right are those of the picture."""

    brow_raise: float = 0.0  # -1 lowered … 1 raised
    brow_furrow: float = 0.0  # 0 … 1 drawn together
    brow_tilt: float = 0.0  # -1 the left brow higher … 1 the right one
    eyelid: float = 0.9  # 0 shut … 1 wide, before the lid follows the gaze down
    gaze_x: float = 0.0  # -1 left … 1 right, within the eye
    gaze_y: float = 0.0  # -1 up … 1 down
    smile: float = 0.0  # -1 corners down … 1 corners up
    mouth_open: float = 0.0  # 0 … 1
    mouth_press: float = 0.0  # 0 … 1 lips pressed together
    yaw: float = 0.0  # degrees, to the right of the picture
    pitch: float = 0.0  # degrees, downwards
    roll: float = 0.0  # degrees, clockwise
    lean: float = 0.0  # -1 … 1 body to the side
    slump: float = 0.0  # 0 upright … 1 sunk
    forward: float = 0.0  # 0 … 1 over the desk
    left_hand: str = "desk"  # one of HANDS
    right_hand: str = "desk"
    left_reach: float = 1.0  # 0 the hand still lies on the desk … 1 it is where its name says
    right_reach: float = 1.0
    wiggle: float = 0.0  # -1 … 1 small movement of the busy hand
    work: str = "book"  # one of WORKS, what lies in front
    phone: str = "none"  # none, desk (lies unused) or held
    attention: str = "work"  # work, ahead, away or phone

    def hand(self, side: str) -> str:
        """What the hand on ``side`` (left or right) visibly does; on its way it still counts as resting."""
        name, reach = (self.left_hand, self.left_reach) if side == "left" else (self.right_hand, self.right_reach)
        return name if reach > 0.5 else "desk"
