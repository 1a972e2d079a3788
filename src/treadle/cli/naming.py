"""Ids for runs that were given none: two words and a number, so that a person can read, say and type them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

_FIRST = """
    amber brave brisk calm clear crisp early fair fleet fresh gentle glad golden grand green happy keen kind
    light lively lucky mild neat noble plain prime proud quick quiet rapid ready royal sharp silver smooth
    solid spry steady still sunny swift tidy true vivid warm wise
"""
_SECOND = """
    badger beaver bobbin comet crane delta eagle ember falcon fern finch forest garnet harbor hazel heron
    iris island ivory jasper kestrel lagoon lantern larch linen loom maple marten meadow merlin otter pebble
    pine plover raven reed river robin rowan shuttle sparrow spindle summit thicket thistle valley walnut
    weaver willow wren
"""
FIRST: Final = _FIRST.split()
SECOND: Final = _SECOND.split()
NUMBERS: Final = range(10, 1000)


def made_up(is_taken: Callable[[str], bool]) -> str:
    """An id that no run has, such as `quiet-loom-417`."""
    draw = random.Random()  # noqa: S311 - a name is no secret
    while True:
        name = f"{draw.choice(FIRST)}-{draw.choice(SECOND)}-{draw.choice(NUMBERS)}"
        if not is_taken(name):
            return name
