"""Power cuts, on disks made of what was written and synced."""

import random
from pathlib import Path

import pytest

from tests.durability.places import quick_place

pytest.importorskip("apsw")

from tests.durability.power import cuts


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "normal", "off"])
def test_a_power_cut_takes_nothing_that_was_told_to_count(kind):
    """With `normal`, the last moments; what is there is right. With nothing synced, the same look finds wreckage."""
    with quick_place() as place:
        seen = cuts(80, random.randrange(1_000_000), Path(place), kind)

    if kind == "full":
        assert seen["all there"] == 80, seen
    elif kind == "normal":
        assert seen["some lost"] + seen["all there"] == 80, seen
    else:
        assert seen["broken"] > 20, seen
