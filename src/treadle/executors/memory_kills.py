"""How many processes the kernel has killed for want of memory, in the control group of this process.

A process that the kernel kills cannot say why, and SIGKILL may come from anybody. But the kernel counts, where
processes are in a control group of the memory controller: in `memory.events` (version 2), or `memory.oom_control`
(version 1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

MEMBERSHIP: Final = Path("/proc/self/cgroup")
MOUNT: Final = Path("/sys/fs/cgroup")


def counting_file(membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> Path | None:
    """The file in which the kernel counts for this process; None where there is none that can be read.

    Each line of `membership` is `number:controllers:path`; version 2 names no controllers. Inside a container the
    path may be that of the host, and what is mounted be the group itself.
    """
    for line in lines_of(membership):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            root, name = mount, "memory.events"
        elif "memory" in controllers.split(","):
            root, name = mount / controllers, "memory.oom_control"
        else:
            continue
        for file in (root / path.lstrip("/") / name, root / name):
            if kill_count(file) is not None:
                return file
    return None


def kill_count(file: Path | None) -> int | None:
    """How many were killed so far, as this file says; None if it does not."""
    for line in [] if file is None else lines_of(file):
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.isdecimal():
            return int(count)
    return None


def lines_of(file: Path) -> list[str]:
    """The lines of a small file; none if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
