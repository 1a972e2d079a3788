"""What the front page says of a program that is killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_code_blocks import blocks, front_page
from tests.tidy.tree import SOURCE

MARK = "python no-run: it is killed in the middle, and run again"
ORDERS = range(20)


def numbers(lines: list[str], word: str) -> list[int]:
    """Give the orders in the lines that begin with a word."""
    return [int(line.split()[1]) for line in lines if line.startswith(word)]


def life(folder: Path, until: int | None = None) -> tuple[list[str], int]:
    """Run the program, and kill it after so many orders; give its lines, and how it ended."""
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "shop.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(SOURCE.parent)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if len(numbers(lines, "order")) == until:
                process.kill()
    return lines, process.returncode


@pytest.mark.slow
def test_the_program_on_the_front_page_loses_nothing(tmp_path: Path) -> None:
    """Killed in the middle and run again, it charges each order, and none again that it had told of."""
    (text,) = [block.text for block in blocks(front_page()) if block.mark == MARK]
    (tmp_path / "shop.py").write_text(text, encoding="utf-8")

    first, killed = life(tmp_path, until=5)
    second, ended = life(tmp_path)

    assert (killed, ended) == (-9, 0)
    told, charged, again = [
        numbers(first, "order"),
        numbers(first, "charging"),
        numbers(second, "charging"),
    ]
    assert len(charged) < len(ORDERS)
    assert {*charged} | {*again} == {*ORDERS}
    assert not {*told} & {*again}
    assert [line for line in second if line.startswith("order")] == [
        f"order {number} charged, shipped\n" for number in ORDERS
    ]
