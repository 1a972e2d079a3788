"""What tests of executors are given."""

from collections.abc import Iterator

import pytest

from tests.executors.driving import Door


@pytest.fixture
def door() -> Iterator[Door]:
    """A door where bodies can wait, in whatever process they are."""
    door = Door()
    yield door
    door.close()
