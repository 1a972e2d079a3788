"""Names that want to break out of a picture, and workflows made of them."""

import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

import treadle as td
from treadle.errors import DefinitionError
from treadle.render.mermaid_text import RESERVED

NASTY = [
    'a"b', 'a\\"b', "a\\", "a[b]", '"]', '"] --> x["', "a(b)", "((a))", "{a}", "[(a)]", "[\\a", ">a]",
    "a --> b", "-->", "-.->", "==>", "~~~", "---", "a|b", "a & b", "a:::b", "a@{shape: rect}", "a;b", ";",
    "<script>alert(1)", "<b>", "&lt;", "&#38;", "#quot;", "#35;", "%% no", "%%{init: {}}%%", "`code`",
    '"`text`"', "__init__", "_a_", "**a**", "1. one", "- one", "www.example.com", "a@b.c", "$$x$$", "fa:fa-car",
    "direction TB", "x direction LR y", "style: #1;", "classDef: #1;", "wrap: x", "note over a: b", "title: x",
    "end", "End", "subgraph a", "click a", "a\\nb", "\\N", "a\\l", "strict", "node", "digraph", "->", "b}",
    "a.b", "a-b", "a b", "a_b", "a_b_2", "n_end", "root", "INPUTS", "fan_out_a", "über", "日本", "🎉", "ﬂ°lt¶ß",
    "e\u0301", "Ⅷ", "1", ".", "a..", "1.5", "x", "o", "v", "constructor", "done", "x" * 200,
]  # fmt: skip

KINDS = ("step", "rule", "condition", "map", "collect", "reduce", "accumulator", "error", "state")


def is_name(text: str) -> bool:
    """Whether a component may be called so."""
    return (
        0 < len(text) <= 200
        and text == text.strip()
        and text.isprintable()
        and "/" not in text
        and text not in {"INPUT", "_global"}
    )


names = st.one_of(
    st.sampled_from([*NASTY, *sorted(RESERVED)]),
    st.lists(st.sampled_from(NASTY), min_size=2, max_size=3).map("".join).filter(is_name),
    st.text(st.sampled_from('ab_-.#;"\\[]{}()<>&|%`: '), min_size=1, max_size=8).filter(is_name),
    st.text(min_size=1, max_size=12).filter(is_name),
)


def component(kind: str, name: str, parent: str | None) -> Any:
    """Give a component of a kind; `state` reads its parent's history."""
    made = {
        "step": lambda: td.step(same, name=name),
        "rule": lambda: td.rule(same, name=name, condition=is_odd),
        "condition": lambda: td.condition(is_odd, name=name),
        "map": lambda: td.map(same, name=name),
        "collect": lambda: td.collect(name=name),
        "reduce": lambda: td.reduce(lambda total, value: [total, value], initial=0, name=name),
        "accumulator": lambda: td.accumulator(lambda total, _: total, initial=0, name=name),
        "error": lambda: td.step(same, name=name),
        "state": lambda: td.step(reader(td.latest(str(parent))), name=name),
    }
    return made[kind]()


def same(value: Any) -> Any:
    """Give back what came."""
    return value


def reader(marker: Any) -> Callable[[Any], Any]:
    """Give a function that has something injected."""

    def read(value: Any, *, injected: Any = marker) -> Any:
        return value, injected

    return read


def is_odd(value: Any) -> bool:
    """Fail for what is no number."""
    return value % 2 == 1


@st.composite
def workflows(draw: st.DrawFn) -> Any:
    """Draw a workflow of hostile names: any kinds, parents and fan-outs, and perhaps a sub-workflow."""
    listed = draw(st.lists(names, min_size=1, max_size=7, unique=True))
    workflow = build(draw, td.workflow(draw(names)), listed)
    if draw(st.booleans()):
        inner = build(
            draw, td.workflow(draw(names)), draw(st.lists(names, max_size=3, unique=True))
        )
        parents = [None, *workflow.components()]
        with contextlib.suppress(DefinitionError):
            workflow = workflow.add(inner, to=draw(st.sampled_from(parents)))
    return workflow


def build(draw: st.DrawFn, workflow: Any, listed: list[str]) -> Any:
    """Add a component for each name; one that does not fit is left out."""
    for name in listed:
        parents = workflow.components()
        parent = draw(st.sampled_from(parents)) if parents and draw(st.booleans()) else None
        kind = draw(st.sampled_from(KINDS if parent else KINDS[:7]))
        to: Any = td.error_of(str(parent)) if kind == "error" else parent
        try:
            workflow = workflow.add(component(kind, name, parent), to=to)
        except DefinitionError:
            continue
    return workflow


inputs = st.sampled_from([1, 2, [], [1, 2], [[1], [2, 3]], "text", None])
