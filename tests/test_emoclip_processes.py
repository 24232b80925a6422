"""Two processes train a caption model as one does: every text of the whole batch stands against every video."""

import numpy as np
import pytest

from tests.drawn import classes_in_columns, flags
from tests.engine.test_distributed import launch
from tests.tools import run_main
from utils.archive import read_archive

LEARN = "--lr 1e-2 --lr-image-encoder 1e-2 --lr-text-encoder 1e-3 --epochs 2 --milestones 1 --deterministic".split()


@pytest.fixture(scope="module")
def pair(drawn, tmp_path_factory):
    """21 clips in batches of 8: the last batch is odd, so one process has a clip for company alone."""
    base = tmp_path_factory.mktemp("processes")
    words = ["@recipes/emoclip.args", *flags("ferv39k", drawn("ferv39k")), *LEARN]
    words += ["--captions", "annotation/train_descriptions.json"]
    alone, both = run_main(words, base / "alone"), launch(words, base / "both", 2)
    assert alone.status == 0, alone.err
    assert both.returncode == 0, both.stderr
    assert "2 processes" in both.stdout
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
