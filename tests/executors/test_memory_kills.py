"""The kernel's count of processes killed for want of memory: both versions of control groups, and none at all."""

from pathlib import Path

import pytest

from treadle.executors.memory_kills import counting_file, kill_count

EVENTS = "low 0\nhigh 3\nmax 17\noom 2\noom_kill 2\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"


def laid_out(root: Path, membership: str, files: dict[str, str]) -> Path | None:
    """The file that is found in a tree like the kernel's."""
    (root / "membership").write_text(membership)
    for name, text in files.items():
        file = root / "mount" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return counting_file(root / "membership", root / "mount")


@pytest.mark.parametrize(
    ("membership", "files", "found", "count"),
    [
        ("0::/job\n", {"job/memory.events": EVENTS}, "job/memory.events", 2),
        ("0::/host/job\n", {"memory.events": EVENTS}, "memory.events", 2),
        (
            "5:cpu:/\n4:memory:/job\n0::/\n",
            {"memory/job/memory.oom_control": CONTROL},
            "memory/job/memory.oom_control",
            5,
        ),
        ("0::/job\n", {"job/memory.events": "low 0\n"}, None, None),
        ("0::/job\n", {}, None, None),
        ("nonsense\n", {}, None, None),
    ],
)
def test_the_file_is_found_where_the_kernel_counts(
    tmp_path: Path, membership: str, files: dict[str, str], found: str | None, count: int | None
):
    """Version 2, in a container too; version 1; and what says nothing."""
    file = laid_out(tmp_path, membership, files)

    assert file == (None if found is None else tmp_path / "mount" / found)
    assert kill_count(file) == count


def test_what_cannot_be_read_counts_nothing(tmp_path: Path):
    """No file, and a directory in its place."""
    assert kill_count(None) is None
    assert kill_count(tmp_path) is None
    assert counting_file(tmp_path / "none", tmp_path) is None
