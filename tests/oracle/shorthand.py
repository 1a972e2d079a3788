"""Nodes written briefly, for graphs worked by hand."""

from typing import Any

from tests.oracle.graph import INPUT, Behaviour, Node

HOW = {"raises", "skips", "holds", "check_raises", "give", "size", "ports", "keys"}


def node(kind: str, name: str, *to: str, **more: Any) -> Node:
    """Make a node, on the raw input if nothing is said; its behaviour may stand among the rest."""
    how = {key: more.pop(key) for key in HOW & more.keys()}
    return Node(name, kind, to or (INPUT,), behaviour=Behaviour(**how), **more)


def step(name: str, *to: str, **more: Any) -> Node:
    """Make a step."""
    return node("step", name, *to, **more)
