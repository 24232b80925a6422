"""What tests of published files share."""

from pathlib import Path

import pytest
import torch

from tests.support.opening import SEVEN
from tests.support.published import Published, write_class_texts


@pytest.fixture(scope="module")
def views():
    """Face and context, two clips of 16 frames."""
    face, context = torch.rand(2, 2, 16, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    return face, context


@pytest.fixture(scope="module")
def seven(tmp_path_factory) -> str:
    return str(write_class_texts(tmp_path_factory.mktemp("classes") / "seven.json", SEVEN))


@pytest.fixture
def write(tmp_path):
    """The smallest file that can be read, gone after the test: what else a file holds is tested with the command."""

    path = tmp_path / "published.pth"

    def to_disk(published: Published) -> Path:
        is_bare = any(key.removeprefix("module.").startswith("backbone.") for key in published.state)
        torch.save(published.state if is_bare else {"state_dict": published.state}, path)
        return path

    yield to_disk
    path.unlink(missing_ok=True)
