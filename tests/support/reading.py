"""Small sets on disk and their lists, read as the data set that the test names."""

from dataloader.annotation import read_annotation
from dataloader.classes import load_classes


def make_frames(root, *folders, names=("1.jpg", "2.jpg")):
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / folder / name).write_bytes(b"x")


def read_set(dataset, root, file="list.txt", text=None, captions=None, classes=None):
    if text is not None:
        (root / file).write_text(text, encoding="utf-8")
    return read_annotation(file, str(root), classes or load_classes(dataset), captions=captions)
