"""Texts that published files are made with in tests: rows of a class, of several lengths."""

PROMPT_TEXTS = (
    ("a still face above an open book", "calm eyes", "nothing in the face moves at all while the pages turn"),
    ("a broad Smile", "the corners of the mouth rise and the cheeks follow", "laughing with a friend over lunch"),
    ("one brow up, and the head half-tilted", "a puzzled frown", "reading the same line for the third time"),
    ("eyelids that fall", "a long yawn behind one hand", "the chin rests upon the palm and the shoulders sink low"),
    ("looking out of the window", "a phone", "turning around to talk while the lecture goes on without them"),
    ("a mouth that opens wide in surprise at the news", "raised brows", "the hands fly up"),
    ("a wrinkled nose", "leaning far back from the plate", "the upper lip is drawn up in dislike of a smell"),
    ("one corner of the mouth drawn in", "a chin held high", "looking down at somebody along the nose"),
    ("biting the lip", "eyes that dart from side to side", "the fingers knead one another below the table"),
    ("lifted palms", "a shrug with brows drawn together", "a look around the room for anybody who could help"),
    ("a sigh", "the gaze sinks to the floor", "the smile of a moment ago is gone from the whole face"),
)
PLAIN_TEXTS = (
    "a face at rest",
    "a face that beams with teeth in view",
    "a face with knitted brows, puzzled",
    "a face about to fall asleep in the warm afternoon",
    "a face turned away",
    "a startled face with round eyes",
    "a sour face",
    "a face with one corner of the mouth up",
    "a face that bites its lip and looks around",
    "a face with lifted inner brows that looks for help",
    "a face that has lost its smile",
)
