"""Two processes train a caption model as one does: every text of the whole batch stands against every video."""

import socket

import numpy as np
import pytest

from main import main
from tests.support.drawn import classes_in_columns, flags
from tests.support.forked import Forked
from tests.support.tools import run_main
from utils.archive import read_archive

LEARN = "--lr 1e-2 --lr-image-encoder 1e-2 --lr-text-encoder 1e-3 --epochs 2 --milestones 1 --deterministic".split()


@pytest.fixture(scope="module")
def pair(drawn, tmp_path_factory):
    """21 clips in batches of 8: the last batch is odd, so one process has a clip for company alone."""
    base = tmp_path_factory.mktemp("processes")
    words = ["@recipes/emoclip.args", *flags("ferv39k", drawn("ferv39k")), *LEARN]
    words += ["--captions", "annotation/train_descriptions.json"]
    alone = run_main(words, base / "alone")
    assert alone.status == 0, alone.err
    with socket.create_server(("127.0.0.1", 0)) as free:
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    both = [
        Forked(
            main,
            [*words, "--output-dir", base / "both"],
            base / rank,
            environment=meeting | {"RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "2 processes" in said[0][0]
    return base / "alone", base / "both"


def test_they_end_in_the_same_weights_and_logits(pair):
    for name in ("best.pt", "last.pt"):
        one, two = (read_archive(folder / name)["model"] for folder in pair)
        assert one.keys() == two.keys()
        for key, value in one.items():
            assert np.abs(value.double().numpy() - two[key].double().numpy()).max() <= 1e-6, (name, key)
    rows = [np.genfromtxt(folder / "predictions.csv", delimiter=",", skip_header=1, dtype=str) for folder in pair]
    assert (rows[0][:, :3] == rows[1][:, :3]).all()
    count = len(classes_in_columns(pair[0] / "predictions.csv"))
    assert np.abs(rows[0][:, 4 : 4 + count].astype(float) - rows[1][:, 4 : 4 + count].astype(float)).max() < 1e-3
