"""The seven layouts beside RAER's: class orders, folders and lists as published."""

from simulate.actions import EMOTION_NAMES
from simulate.layouts.layout import FOLDS, Layout
from simulate.plan import Slot

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")  # of DFEW, FERV39k and AFEW
SEVEN_FOLDERS = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
CAER_CLASSES = ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
CAER_EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
FIRST_LEARNER = 110001  # DAiSEE's persons have six digits
LIST_OF_FOLDERS = "lists hold `path frames label`, labels from 0; a path is a folder of frames below this folder"


def _caer_s_parent(slot: Slot) -> str:
    """As published, the folder of anger has one name in train and another in test."""
    is_odd = slot.list_name == "train" and CAER_CLASSES[slot.label] == "Anger"
    return f"CAER-S/{slot.list_name}/{'Angry' if is_odd else CAER_CLASSES[slot.label]}"


LAYOUTS = {
    "dfew": Layout(
        classes=SEVEN,
        emotions=SEVEN,
        lists=FOLDS,
        parent=lambda slot: "DFEW_Frame_Face",
        digits=5,
        paths=LIST_OF_FOLDERS,
    ),
    "ferv39k": Layout(
        classes=SEVEN,
        emotions=SEVEN,
        lists=("train", "test"),
        parent=lambda slot: f"2_ClipsforFaceCrop/{slot.place}/{SEVEN_FOLDERS[slot.label]}",
        digits=4,
        paths=f"{LIST_OF_FOLDERS}; captions are keyed Scene_Emotion_id",
    ),
    "mafw": Layout(
        classes=EMOTION_NAMES,
        emotions=EMOTION_NAMES,
        lists=FOLDS,
        parent=lambda slot: "data/faces",
        digits=5,
        paths="lists name videos; the frames of 00001.mp4 are in data/faces/00001; lists with captions are GBK, with "
        "TAB between columns and CRLF at the end; targets.csv: simulated scores, 0 to 10, of the folders of frames",
        has_blends=True,
    ),
    "afew": Layout(
        classes=SEVEN,
        emotions=SEVEN,
        lists=("train", "validation"),
        parent=lambda slot: f"AFEW_Face/{slot.list_name}/{SEVEN_FOLDERS[slot.label]}",
        digits=9,
        paths="no lists: AFEW_Face/<train or validation>/<Emotion>/<clip> holds the frames of a clip",
    ),
    "caer": Layout(
        classes=CAER_CLASSES,
        emotions=CAER_EMOTIONS,
        lists=("train", "validation", "test"),
        parent=lambda slot: f"CAER/{slot.list_name}/{CAER_CLASSES[slot.label]}",
        digits=4,
        paths="lists hold `video frames label`, labels from 0; with this folder as the root the frames of "
        "train/Anger/0001.avi are in CAER/train/Anger/0001, which is also its key in annotation/face.json",
        is_cropped=False,
    ),
    "caer-s": Layout(
        classes=CAER_CLASSES,
        emotions=CAER_EMOTIONS,
        lists=("train", "test"),
        parent=_caer_s_parent,
        digits=4,
        paths="lists hold `picture 1 label`, labels from 1, and in two_columns `picture label`, labels from 0; with "
        "this folder as the root train/Angry/0001.png is CAER-S/train/Angry/0001.png, also its key in "
        "annotation/face.json",
        is_cropped=False,
        is_still=True,
    ),
    "daisee": Layout(
        classes=("Very Low", "Low", "High", "Very High"),
        emotions=(),
        lists=("train", "test"),
        parent=lambda slot: f"DAiSEE/{slot.list_name}/{FIRST_LEARNER + slot.person}",
        digits=4,
        paths="lists hold `path frames engagement`, engagement from 1, and in six_columns `path frames boredom "
        "engagement confusion frustration`, levels from 0; a path is a folder of frames below this folder",
        is_cropped=False,
    ),
}
