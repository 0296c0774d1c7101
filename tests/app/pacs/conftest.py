from collections.abc import Iterator

import pytest

from tests.app.pacs.answering import Answering, answered


@pytest.fixture
def answering() -> Iterator[tuple[Answering, str]]:
    with answered() as running:
        yield running
