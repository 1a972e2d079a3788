"""Mermaid: the guide's shape, every kind of node and edge, and names that cannot break out."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import treadle as td
from tests.render.hostile import NASTY, inputs, is_name, names, workflows
from tests.render.orders import ORDER, nested_workflow, order_workflow, same
from treadle.errors import UsageError
from treadle.render.flowchart import SHAPES
from treadle.render.mermaid_text import RESERVED, escape, identifiers, is_plain

# ---------------------------------------------------------------------------------------- the grammar

ID = r"[A-Za-z][A-Za-z0-9_]*"
TEXT = r"(?:[^\W_]|[ ',…_.-]|#[0-9]+;)+"
COUNTS = r"<br/>[0-9]+ [a-z ]+(?:, [0-9]+ [a-z ]+)*"
LABEL = rf'(?:[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z0-9])?|"{TEXT}(?:{COUNTS})?")'
BRACKETS = [("((", "))"), ("([", "])"), *SHAPES.values()]
SHAPED = "|".join(f"{re.escape(before)}{LABEL}{re.escape(after)}" for before, after in BRACKETS)
NODE = rf"{ID}(?:{SHAPED})?"
COLOURS = r"fill:#[0-9a-f]{6},stroke:#[0-9a-f]{6},color:#[0-9a-f]{6}"
STATUS = r"(?:done|failed|waiting|ready|idle)"
FLOWCHART = [
    r"flowchart (?:TD|TB|BT|LR|RL)",
    rf' +subgraph {ID}\["{TEXT}"\]',
    r" +end",
    rf" +{NODE}",
    rf"    {NODE} (?:-->|-\. (?:error|state|condition) \.->) {NODE}",
    rf"    style {ID} {COLOURS}",
    rf"    classDef {STATUS} {COLOURS}",
    rf"    class {ID}(?:,{ID})* {STATUS}",
    r"",
]
SEQUENCE = [
    r"sequenceDiagram",
    rf"    participant {ID}(?: as {TEXT})?",
    rf"    {ID}(?:->>|-->>){ID}: {TEXT}",
    rf"    Note over {ID}: (?:retried|failed|skipped)(?:, {TEXT})?",
    r"    Note over root: and [0-9]+ more",
]


def strays(text: str, grammar: list[str]) -> list[str]:
    """Give the lines that no rule of the grammar matches."""
    return [
        line for line in text.split("\n") if not any(re.fullmatch(rule, line) for rule in grammar)
    ]


def described(text: str) -> dict[str, str]:
    """Give the label of each node by its identifier, as a reader sees it; fails if one comes twice."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        if line.lstrip().startswith(("subgraph ", "style ", "class ", "classDef ", "flowchart ")):
            continue
        for identifier, shape in re.findall(rf"(?:^|(?<= ))({ID})({SHAPED})", line):
            assert identifier not in found
            label = re.fullmatch(rf'\W*?"?({TEXT})(?:{COUNTS})?"?\W*', shape.strip("[](){}\\/"))
            assert label is not None
            found[identifier] = unescaped(label[1])
    return found


def unescaped(text: str) -> str:
    """Read codes back."""
    return re.sub(r"#([0-9]+);", lambda code: chr(int(code[1])), text)


# ---------------------------------------------------------------------------------------- the pictures

GUIDE = """\
flowchart TD
    root((root)) --> validate_order{validate_order}
    validate_order --> check_inventory[check_inventory]
    validate_order --> screen_fraud[screen_fraud]
    validate_order --> estimate_shipping[estimate_shipping]
    check_inventory --> decide_fulfillment[decide_fulfillment]
    screen_fraud --> decide_fulfillment
    estimate_shipping --> decide_fulfillment

    style root fill:#1e293b,stroke:#94a3b8,color:#f8fafc
    style validate_order fill:#1e293b,stroke:#f59e0b,color:#fbbf24
    style check_inventory fill:#1e293b,stroke:#3b82f6,color:#60a5fa
    style screen_fraud fill:#1e293b,stroke:#3b82f6,color:#60a5fa
    style estimate_shipping fill:#1e293b,stroke:#3b82f6,color:#60a5fa
    style decide_fulfillment fill:#1e293b,stroke:#10b981,color:#34d399"""


def test_order_workflow_is_the_guides_picture() -> None:
    """The workflow of the guide gives the picture of the guide, to the letter."""
    assert order_workflow().to_mermaid() == GUIDE


def test_state_shows_as_classes_and_counts() -> None:
    """What is done, failed, ready and waiting has a class each; what nothing reached is idle."""

    def lost(order: Any) -> Any:
        raise LookupError(order)

    workflow = order_workflow().replace("screen_fraud", td.step(lost))
    workflow, runnables = workflow.plan_eagerly(ORDER).prepare_for_dispatch()
    workflow = workflow.apply_runnable(td.execute_runnable(runnables[0]))
    workflow, runnables = workflow.prepare_for_dispatch()
    for runnable in runnables[:2]:
        workflow = workflow.apply_runnable(td.execute_runnable(runnable))

    drawn = workflow.add(td.step(same, name="later")).to_mermaid(state=True)

    assert drawn.split("\n\n")[1].split("\n")[1:] == [
        "    classDef done fill:#064e3b,stroke:#10b981,color:#a7f3d0",
        "    class validate_order,check_inventory done",
        "    classDef failed fill:#7f1d1d,stroke:#ef4444,color:#fecaca",
        "    class screen_fraud failed",
        "    classDef waiting fill:#78350f,stroke:#f59e0b,color:#fde68a",
        "    class decide_fulfillment waiting",
        "    classDef ready fill:#1e3a8a,stroke:#3b82f6,color:#bfdbfe",
        "    class estimate_shipping ready",
        "    classDef idle fill:#1e293b,stroke:#475569,color:#94a3b8",
        "    class later idle",
    ]
    assert '    root((root)) --> validate_order{"validate_order<br/>1 done"}' in drawn
    assert 'screen_fraud["screen_fraud<br/>1 failed"]' in drawn
    assert 'estimate_shipping["estimate_shipping<br/>1 in flight"]' in drawn


def test_fan_outs_nest_and_errors_are_dotted() -> None:
    """A fan-out is a box with its map inside, boxes nest; what is no value is dotted and named."""
    assert nested_workflow().to_mermaid(direction="LR").split("\n\n")[0] == (
        "flowchart LR\n"
        '    subgraph fan_out_rows["each item of rows"]\n'
        "        rows[[rows]]\n"
        "        row[\\row/]\n"
        '        subgraph fan_out_cells["each item of cells"]\n'
        "            cells[[cells]]\n"
        "            check[check]\n"
        "            handle[handle]\n"
        "        end\n"
        "    end\n"
        '    subgraph workflow_sub["sub"]\n'
        '        sub_first["sub.first"]\n'
        '        sub_last["sub.last"]\n'
        "    end\n"
        "    root((root)) --> rows\n"
        "    rows --> cells\n"
        "    cells --> check\n"
        "    check -. error .-> handle\n"
        "    check --> row\n"
        "    row --> table[\\table/]\n"
        "    table --> seen[(seen)]\n"
        "    table --> filled{filled}\n"
        "    filled --> sub_first\n"
        "    sub_first --> sub_last\n"
        "    table --> report{report}\n"
        "    filled -. condition .-> report\n"
        "    seen -. state .-> report"
    )


def test_empty_workflow_is_the_root_alone() -> None:
    """A workflow without components can be drawn."""
    drawn = td.workflow("empty").to_mermaid()

    assert drawn.startswith("flowchart TD\n    root((root))\n\n    style root ")


def test_component_of_an_unknown_kind_has_a_shape() -> None:
    """What users add to the vocabulary is drawn too."""

    class Ritual(td.step(same).__class__):  # type: ignore[misc]
        kind = "ritual <of> spring"

        def lower(self, name: str, wiring: Any) -> Any:
            return super().lower(name, wiring)

    drawn = td.workflow("w", steps=[Ritual(same, name="dance")]).to_mermaid()

    assert "root((root)) --> dance([dance])" in drawn
    assert strays(drawn, FLOWCHART) == []


# ------------------------------------------------------------------------------------- the sequence


def test_sequence_of_the_order_workflow() -> None:
    """The last input's story: who gave what to whom, and what came out."""
    done = order_workflow().react_until_satisfied(ORDER)

    assert done.to_mermaid(kind="sequence") == (
        "sequenceDiagram\n"
        "    participant root\n"
        "    participant validate_order\n"
        "    participant check_inventory\n"
        "    participant screen_fraud\n"
        "    participant estimate_shipping\n"
        "    participant decide_fulfillment\n"
        "    root->>validate_order: "
        "#123;'items'#58; #91;'book'#93;, 'customer_id'#58; 'c1'#125;\n"
        "    validate_order->>check_inventory: "
        "#123;'items'#58; #91;'book'#93;, 'customer_id'#58; 'c1'#125;\n"
        "    validate_order->>screen_fraud: "
        "#123;'items'#58; #91;'book'#93;, 'customer_id'#58; 'c1'#125;\n"
        "    validate_order->>estimate_shipping: "
        "#123;'items'#58; #91;'book'#93;, 'customer_id'#58; 'c1'#125;\n"
        "    check_inventory->>decide_fulfillment: 'in_stock'\n"
        "    screen_fraud->>decide_fulfillment: 'low'\n"
        "    estimate_shipping->>decide_fulfillment: 3\n"
        "    decide_fulfillment-->>root: #123;'days'#58; 3#125;"
    )


def test_sequence_tells_failures_and_conditions() -> None:
    """A failure is a note, its handler gets it dotted; what passes a condition comes from there."""
    done = nested_workflow().react_until_satisfied([[1, 0]])
    told = done.to_mermaid(kind="sequence")

    assert "    Note over check: failed, ValueError#58; 0 is too small\n" in told
    assert "    check-->>handle: ValueError#58; 0 is too small\n" in told
    assert "    table->>filled: #91;#91;1#93;#93;\n" in told
    assert "    filled->>sub_first: #91;#91;1#93;#93;\n" in told
    assert "    participant sub_first as sub.first\n" in told


def test_sequence_shortens_values_whatever_they_do() -> None:
    """Long values end in an ellipsis; a value that cannot be shown is named by its class."""

    class Sulking:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    workflow = td.workflow("w", steps=[td.step(same, name="keep")])

    for value, expected in [
        ("x" * 10**6, "'" + "x" * 38 + "…"),
        ({"b": "x" * 50, "a": 1}, "#123;'b'#58; '" + "x" * 32 + "…"),
        (Sulking(), "#60;Sulking#62;"),
        ([Sulking()], "#60;list#62;"),
        ("two\nlines; one", "'two#92;nlines#59; one'"),
        (same, "#60;function same#62;"),
        (object(), "#60;object object#62;"),
    ]:
        told = workflow.react_until_satisfied(value).to_mermaid(kind="sequence")

        assert f"    root->>keep: {expected}\n" in told
        assert strays(told, SEQUENCE) == []


def test_sequence_tells_all_inputs_only_if_they_are_few() -> None:
    """A short history is told from its beginning, a long one by its last input."""
    workflow = td.workflow("w", steps=[td.step(same, name="keep")])
    for number in range(3):
        workflow = workflow.react_until_satisfied(number)
    few = workflow.to_mermaid(kind="sequence")
    for number in range(3, 30):
        workflow = workflow.react_until_satisfied(number)
    many = workflow.to_mermaid(kind="sequence")

    assert few.count("root->>keep") == 3
    assert many.split("\n")[3:] == ["    root->>keep: 29", "    keep-->>root: 29"]


def test_sequence_of_a_large_input_ends_with_a_count() -> None:
    """Nobody reads a thousand arrows."""
    done = td.workflow("w", steps=[td.map(same, name="each")]).react_until_satisfied(range(1000))
    lines = done.to_mermaid(kind="sequence").split("\n")

    assert len(lines) < 160
    assert lines[-1] == "    Note over root: and 851 more"


def test_sequence_without_inputs_is_the_root_alone() -> None:
    """Nothing happened, and that can be drawn."""
    assert order_workflow().to_mermaid(kind="sequence") == "sequenceDiagram\n    participant root"


# -------------------------------------------------------------------------------- names and choices


@given(workflows(), inputs, st.sampled_from(["TD", "LR"]))
def test_hostile_names_stay_inside(workflow: Any, value: Any, direction: str) -> None:
    """Every line is one of the grammar's, every node has an identifier of its own and shows its name."""
    done = workflow.react_until_satisfied(value)
    for drawn in (
        workflow.to_mermaid(direction=direction),
        done.to_mermaid(direction=direction, state=True),
    ):
        assert strays(drawn, FLOWCHART) == []
        labels = described(drawn)
        assert labels.pop("root") == "root"
        assert sorted(labels.values()) == sorted(workflow.components())
        boxes = re.findall(rf"^ *subgraph ({ID})\[", drawn, re.MULTILINE)
        assert len({*boxes, *labels, "root"}) == len(boxes) + len(labels) + 1
        assert len(boxes) == len(re.findall(r"^ +end$", drawn, re.MULTILINE))

    assert strays(done.to_mermaid(kind="sequence"), SEQUENCE) == []


@given(st.lists(names, max_size=30))
def test_identifiers_are_safe_and_differ(listed: list[str]) -> None:
    """Each name has one identifier, no two names share one, and none is a word of Mermaid."""
    given_ids = identifiers(listed)

    assert len(set(given_ids.values())) == len(set(listed))
    for name, identifier in given_ids.items():
        assert re.fullmatch(ID, identifier)
        assert identifier.lower() not in RESERVED
        assert (identifier == name) == is_plain(name)


def test_no_two_lines_make_a_direction() -> None:
    """Mermaid's lexer looks for `direction LR` over the end of a line too, so no node is called LR."""
    steps: list[Any] = [
        td.step(same, name="LRU"),
        (td.step(same, name="a"), [td.step(same, name="redirection")]),
    ]
    drawn = td.workflow("w", steps=steps).add(td.step(same, name="b"), to="LRU").to_mermaid()

    assert 'n_LRU["LRU"]' in drawn
    assert not re.search(r"direction\s+(TB|BT|LR|RL|TD)", drawn)


@given(st.text())
def test_escape_can_be_read_back(text: str) -> None:
    """Escaped text is harmless in every position, and says what the text said."""
    escaped = escape(text)

    assert re.fullmatch(TEXT, escaped) or not text
    assert not re.search(r"direction +(TB|BT|LR|RL|TD)", escaped)
    assert unescaped(escaped) == text


def test_names_alike_do_not_collide() -> None:
    """Names that differ only in what is replaced, or by what replaces it, keep apart."""
    listed = ["a-b", "a b", "a.b", "a_b", "a_b_2", "a__b", "A_b"]

    assert identifiers(listed) == {
        "a-b": "a_b_3",
        "a b": "a_b_4",
        "a.b": "a_b_5",
        "a_b": "a_b",
        "a_b_2": "a_b_2",
        "a__b": "a__b",
        "A_b": "A_b",
    }


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_words_of_mermaid_are_quoted(word: str) -> None:
    """A component may be called `end`; its identifier is another."""
    drawn = td.workflow("w", steps=[td.step(same, name=word)]).to_mermaid()

    assert f'root((root)) --> n_{word}["{word}"]' in drawn


def test_nasty_names_are_names() -> None:
    """What the tests draw could all be typed by a user."""
    assert [name for name in NASTY if not is_name(name)] == []


@pytest.mark.parametrize(
    ("wrong", "choices"),
    [
        ({"kind": "pie"}, "'flowchart', 'sequence'"),
        ({"direction": "UP"}, "'TD', 'TB', 'BT', 'LR', 'RL'"),
        ({"direction": "td; click a"}, "'TD', 'TB', 'BT', 'LR', 'RL'"),
        ({"direction": None}, "'TD', 'TB', 'BT', 'LR', 'RL'"),
        ({"kind": "sequence", "direction": ["TD"]}, "'TD', 'TB', 'BT', 'LR', 'RL'"),
    ],
    ids=repr,
)
def test_wrong_choices_are_refused(wrong: dict[str, Any], choices: str) -> None:
    """A kind or direction that does not exist is refused with the list of those that do."""
    with pytest.raises(UsageError) as refused:
        order_workflow().to_mermaid(**wrong)

    assert choices in str(refused.value)
