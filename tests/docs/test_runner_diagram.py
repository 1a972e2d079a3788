"""The page about a run's machine shows what the machine's tables say."""

from pathlib import Path

import pytest

from tests.docs.runner_diagram import DRAWN, PAGE, STATUSES, legal, with_drawings, write
from treadle.runner import stimuli as say


def test_page_shows_the_tables():
    """The diagram and the tables of the page are those drawn; else: `python -m tests.docs.runner_diagram`."""
    page = PAGE.read_text(encoding="utf-8")

    assert page == with_drawings(page)


def test_drawing_replaces_what_is_between_the_marks(tmp_path: Path):
    """What stood there before is gone, what stands around it stays, and a second drawing changes nothing."""
    page = tmp_path / "page.md"
    marks = "\n".join(f"before\n<!-- {name} -->old<!-- end of {name} -->" for name in DRAWN)
    page.write_text(f"{marks}\nafter\n", encoding="utf-8")
    write(page)
    drawn = page.read_text(encoding="utf-8")
    write(page)

    assert page.read_text(encoding="utf-8") == drawn
    assert "old" not in drawn
    assert drawn.count("before") == len(DRAWN)
    assert drawn.endswith("after\n")
    assert legal() in drawn


def test_a_page_without_marks_is_no_page():
    """A mark that went astray is noticed."""
    with pytest.raises(ValueError, match="lacks"):
        with_drawings("# A page\n")


def test_every_status_is_drawn():
    """No status was forgotten: those of the module are those of the pictures."""
    known = {
        value for name, value in vars(say).items() if name.isupper() and isinstance(value, str)
    }

    assert known == set(STATUSES)
