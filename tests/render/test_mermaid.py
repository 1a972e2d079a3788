"""Mermaid: the guide's shape, every shape and edge, and names that cannot break out."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import treadle as td
from tests.render.hostile import NASTY, inputs, is_name, names, workflows
from tests.render.orders import ORDER, nested_workflow, order_workflow, same
from treadle.errors import UsageError
from treadle.render.mermaid_text import RESERVED, escape, identifiers, is_plain

ID = r"[A-Za-z][A-Za-z0-9_]*"
PLAIN = r"[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z0-9])?"
TEXT = r"(?:[^\W_]|[ ',…_.-]|#[0-9]+;)+"
COUNTS = r"<br/>[0-9]+ [a-z ]+(?:, [0-9]+ [a-z ]+)*"
LABEL = rf'(?:{PLAIN}|"{TEXT}(?:{COUNTS})?")'
SHAPED = "|".join(
    rf"{before}{LABEL}{after}"
    for before, after in [
        (r"\[", r"\]"),
        (r"\{", r"\}"),
        (r"\[\[", r"\]\]"),
        (r"\[\\", r"/\]"),
        (r"\[\(", r"\)\]"),
        (r"\(\[", r"\]\)"),
        (r"\(\(", r"\)\)"),
    ]
)
NODE = rf"{ID}(?:{SHAPED})?"
COLOURS = r"fill:#[0-9a-f]{6},stroke:#[0-9a-f]{6},color:#[0-9a-f]{6}"
FLOWCHART_LINE = re.compile(
    rf"""flowchart\ (?:TD|TB|BT|LR|RL)
    | \ +subgraph\ {ID}\["{TEXT.replace(" ", "[ ]", 1)}"\]
    | \ +end
    | \ +{NODE.replace(" ", "[ ]")}
    | \ {{4}}{NODE.replace(" ", "[ ]")}\ (?:-->|-\.\ (?:error|state|condition)\ \.->)\ {NODE.replace(" ", "[ ]")}
    | \ {{4}}style\ {ID}\ {COLOURS.replace("#", "[#]")}
    | \ {{4}}classDef\ (?:done|failed|waiting|ready|idle)\ {COLOURS.replace("#", "[#]")}
    | \ {{4}}class\ {ID}(?:,{ID})*\ (?:done|failed|waiting|ready|idle)
    |""",
    re.VERBOSE,
)
