"""Workflows in two versions, and a module that is written anew between runs."""

import importlib
import sys
import textwrap

import treadle as td
from treadle.upgrade import compare


def same(value):
    """Give what was given."""
    return value


def plus_one(value):
    """A version of a step."""
    return value + 1


def plus_two(value):
    """The next version of it."""
    return value + 2


def orders(first=plus_one, fold=lambda total, value: total + value):
    """A step, a step below it, and a state below that."""
    w = td.workflow("orders").add(td.step(first, name="price"))
    w = w.add(td.step(lambda x: x * 10, name="charge"), to="price")
    return w.add(td.accumulator(fold, initial=0, name="total"), to="charge")


def changes(definition, events, **more):
    """How each component changed, those that did not left out."""
    found = compare(definition, events, **more)
    return {each.component: each.change for each in found if not each.is_same}


def kinds(events):
    """The names of the kinds of events."""
    return [type(event).__name__ for event in events]


class Module:
    """A module of its own in a folder, written anew and reloaded as a deploy would."""

    def __init__(self, folder, name):
        self.path, self.name = folder / f"{name}.py", name

    def written(self, text):
        """The workflow of the module, after it was written so."""
        self.path.write_text(textwrap.dedent(text), encoding="utf-8")
        importlib.invalidate_caches()
        sys.modules.pop(self.name, None)
        sys.path.insert(0, str(self.path.parent))
        before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            return importlib.import_module(self.name).workflow
        finally:
            sys.path.remove(str(self.path.parent))
            sys.modules.pop(self.name, None)
            sys.dont_write_bytecode = before
