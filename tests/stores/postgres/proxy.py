"""A proxy between a store and its server, which loses connections, or everything that is said on them."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from threading import Lock, Thread
from typing import Self


class Proxy:
    """Passes bytes on. `draw`: each connection is cut after so many bytes as it says, in the midst of what is said."""

    def __init__(self, port: int, draw: random.Random | None = None) -> None:
        self._target = port
        self._draw = draw
        self._lock = Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self.is_silent = False
        """Takes all that is said, and passes nothing on."""
        self.is_calm = draw is None
        self._is_apart = False
        Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for pair in list(self._pairs):
            self._cut(pair)

    def part(self) -> None:
        """Cut all connections, and let none through."""
        self._is_apart = True
        for pair in list(self._pairs):
            self._cut(pair)

    def join(self) -> None:
        """Let connections through again."""
        self._is_apart = False

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._is_apart:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            pair = (near, far)
            self._pairs.append(pair)
            budget = [self._draw.randint(4_000, 25_000)] if self._draw else [1 << 60]
            for one, other in (pair, pair[::-1]):
                Thread(target=self._pump, args=(one, other, pair, budget), daemon=True).start()

    def _pump(
        self,
        one: socket.socket,
        other: socket.socket,
        pair: tuple[socket.socket, socket.socket],
        budget: list[int],
    ) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                if self.is_silent:
                    continue
                budget[0] -= len(data)
                if budget[0] < 0 and not self.is_calm:
                    other.sendall(data[: len(data) + budget[0]] if -budget[0] < len(data) else b"")
                    self.cuts += 1
                    break
                other.sendall(data)
        self._cut(pair)

    def _cut(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            if pair in self._pairs:
                self._pairs.remove(pair)
        for each in pair:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
