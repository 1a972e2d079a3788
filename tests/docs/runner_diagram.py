"""The pictures of a run's machine, drawn from the tables that the machine itself obeys.

`python -m tests.docs.runner_diagram` writes them into `docs/runner-machine.md`.
"""

import re
from pathlib import Path

from tests.tidy.tree import ROOT
from treadle.runner import stimuli as say
from treadle.runner.stimuli import ANSWERS, TRANSITIONS

PAGE = ROOT / "docs" / "runner-machine.md"

STATUSES = [
    *(say.NEW, say.RUNNING, say.IDLE, say.STOPPING, say.STOPPED),
    *(say.CANCELLING, say.CANCELLED, say.PARKED),
]


def diagram() -> str:
    """Which status may follow which, and by which stimuli; where nothing changes there is no arrow."""
    by_arrow: dict[tuple[str, str], list[str]] = {}
    for (status, stimulus), following in TRANSITIONS.items():
        for after in following:
            if after != status:
                by_arrow.setdefault((status, after), []).append(stimulus.__name__)
    ordered = sorted(by_arrow, key=lambda arrow: [STATUSES.index(status) for status in arrow])
    lines = ["stateDiagram-v2", f"    [*] --> {say.NEW}"]
    lines += [f"    {a} --> {b}: {', '.join(by_arrow[a, b])}" for a, b in ordered]
    lines += [f"    {status} --> [*]" for status in STATUSES if status in say.FINAL]
    return "\n".join(["```mermaid", *lines, "```"])


def legal() -> str:
    """Which stimuli a status takes."""
    lines = ["| status | takes |", "|---|---|"]
    for status in STATUSES:
        names = [stimulus.__name__ for known, stimulus in TRANSITIONS if known == status]
        lines.append(f"| {status} | {', '.join(names) or 'nothing: its machine is gone'} |")
    return "\n".join(lines)


def answers() -> str:
    """Which instruction is answered by which stimulus."""
    lines = ["| instruction | answered by |", "|---|---|"]
    for instruction, stimuli in ANSWERS.items():
        names = ", ".join(f"one `{stimulus.__name__}`" for stimulus in stimuli)
        lines.append(
            f"| `{instruction.__name__}` | {names or 'nothing: it is done when it is given'} |"
        )
    return "\n".join(lines)


DRAWN = {"diagram": diagram, "legal": legal, "answers": answers}


def with_drawings(page: str) -> str:
    """The page with what is drawn between its marks."""
    for name, draw in DRAWN.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        between = re.compile(f"{begin}.*?{end}", re.DOTALL)
        if not between.search(page):
            raise ValueError(f"the page lacks {begin} ... {end}.")
        drawing = f"{begin}\n\n{draw()}\n\n{end}"
        page = between.sub(lambda _, text=drawing: text, page)  # type: ignore[misc]
    return page


def write(page: Path = PAGE) -> None:
    """Draw anew."""
    page.write_text(with_drawings(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()
