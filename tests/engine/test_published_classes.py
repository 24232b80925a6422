"""What the classes of a published single-stream file are called: the order is that of the lists it was trained with."""

import pytest

from engine.checkpoints import open_checkpoint
from tests.support import published as files
from tests.support.containers import write_container
from tests.support.published import Recipe
from utils.errors import UserError

SEVEN = ["happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"]
ELEVEN = [*SEVEN, "contempt", "anxiety", "helplessness", "disappointment"]


@pytest.mark.parametrize(("dataset", "names"), [("DFEW", SEVEN), ("FERV39k", SEVEN), ("MAFW", ELEVEN)])
def test_dfer_clip_knows_its_classes_by_the_data_set(tmp_path, dataset, names):
    path = write_container(tmp_path / "model.pth", files.dfer_clip(Recipe(classes=len(names))))
    opened = open_checkpoint(path, {"dataset": dataset})
    assert opened.content["classes"] == names
    assert opened.content["family"] == opened.config.model.model == "dfer-clip"
    assert opened.unnamed is None
    path.unlink()


def test_more_frames_than_an_emoclip_file_has_positions_for_are_refused(tmp_path):
    path = write_container(tmp_path / "model.pth", files.emoclip(Recipe(depth=2)))
    most = files.emoclip(Recipe(depth=2)).state["module.temporal.pos_embedding"].shape[1] - 1
    assert open_checkpoint(path, {"dataset": "DFEW", "num_segments": most}).config.data.num_segments == most
    with pytest.raises(UserError, match=f"--num-segments {most + 1}"):
        open_checkpoint(path, {"dataset": "DFEW", "num_segments": most + 1})
