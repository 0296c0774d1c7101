"""One thread for torch, a drawn data folder, and tiny installed specialists."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from specialists.manifest import Manifest
from tests.specialists.dataset import write_dataset
from tests.specialists.nets import installed
from tests.specialists.own_dataset import write_own_data


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder to read; use `data` to change it."""
    return write_dataset(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def data(drawn_data: Path, tmp_path: Path) -> Path:
    """A data folder of the test's own."""
    return Path(shutil.copytree(drawn_data, tmp_path / "data"))


@pytest.fixture
def tiny(tmp_path: Path) -> Manifest:
    """Specialists of every kind with random weights, installed in the test's own folder."""
    return installed(tmp_path / "weights")


@pytest.fixture(scope="session")
def drawn_own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own tables to read; use `own` to change them."""
    return write_own_data(tmp_path_factory.mktemp("own"))


@pytest.fixture
def own(drawn_own: Path, tmp_path: Path) -> Path:
    """A copy of the user's own tables."""
    return Path(shutil.copytree(drawn_own, tmp_path / "own"))
