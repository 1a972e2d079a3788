"""Caching: what a component gave before for the same code, inputs and extras is given again, without calling it.

The store is asked in the thread that writes to it, so that the loop waits for nobody. Where it cannot be asked, the
work is done as it would be without a cache.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from treadle.engine.execute import outcome_of
from treadle.engine.jobs import cancelled_bundle
from treadle.errors import EncodeError
from treadle.interfaces import Caches, Clock, Codec
from treadle.model.runnables import OK, Outcome, Runnable
from treadle.model.sentinels import ABSENT
from treadle.runner.live import Live
from treadle.runner.stimuli import CacheTerms

logger = logging.getLogger("treadle.runner")

NOTES: Final = 1_000
"""Of so many components of runs it is remembered why they were, or were not, computed."""


class Caching:
    """Asks the cache of a store before work is given to an executor, and fills it afterwards."""

    def __init__(
        self,
        store: Caches,
        codec: Codec,
        clock: Clock,
        do: Callable[[Callable[[], Any]], None],
        call: Callable[[Callable[[], None]], None],
    ) -> None:
        self._store = store
        self._codec = codec
        self._clock = clock
        self._do = do
        """Has something done in the thread that may wait for the store."""
        self._call = call
        """Has something done in the loop's thread."""
        self._parts: dict[int, dict[str, str]] = {}
        """Of the bundles whose outcomes are to be kept."""
        self._notes: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()

    def explain(self, run_id: str, component: str) -> dict[str, Any] | None:
        """Why the last work of a component was computed, or was not."""
        return self._notes.get((run_id, component))

    def look_up(
        self,
        number: int,
        live: Live,
        go_on: Callable[[], None],
        answer: Callable[[int, list[Outcome]], None],
    ) -> None:
        """Answer a bundle from the cache, or let it go on to its executor; called in the loop's thread."""
        runnable, terms = live.bundle.runnables[0], live.order.terms.cache
        if terms is None or runnable.problem is not None:
            go_on()
            return
        try:
            parts = self._parts_of(runnable, terms)
        except EncodeError as error:
            self._note(live, None, f"the inputs cannot be stored: {error.message}", {})
            go_on()
            return

        def decide(found: tuple[Any] | None, why: str) -> None:
            self._note(live, found, why, parts)
            if live.why:
                answer(number, cancelled_bundle(live.bundle, "withdrawn"))
            elif found is not None:
                answer(number, [outcome_of(runnable, found[0])])
            else:
                self._parts[number] = parts
                go_on()

        def look() -> None:
            try:
                found, why = self._find(parts, terms)
            except Exception as error:  # noqa: BLE001 - a cache that does not answer is none
                found, why = None, f"the cache could not be read: {error}"
            self._call(lambda: decide(found, why))

        self._do(look)

    def keep(self, number: int, live: Live | None, outcomes: Sequence[Outcome]) -> None:
        """Keep what a bundle gave, if it is to be kept; any thread may call it."""
        parts = self._parts.pop(number, None)
        if parts is None or live is None or live.why or len(outcomes) != 1:
            return
        outcome = outcomes[0]
        terms = live.order.terms.cache
        if terms is None or outcome.status != OK or outcome.value is ABSENT:
            return
        at = self._clock.now()
        try:
            body = self._codec.encode({"value": outcome.value, "at": at})
        except EncodeError:  # such a value is computed each time
            return
        newest = self._codec.encode({**parts, "at": at})

        def save() -> None:
            self._store.put_cached(key_of(parts), body)
            self._store.put_cached(f"newest {terms.name}", newest)

        self._do(save)

    def _find(self, parts: dict[str, str], terms: CacheTerms) -> tuple[tuple[Any] | None, str]:
        """What is kept, and why that counts or not."""
        body = self._store.cached(key_of(parts))
        if body is not None:
            found = self._codec.decode(body)
            age = self._clock.now() - found["at"]
            if terms.ttl_s is None or age <= terms.ttl_s:
                return (found["value"],), f"it was computed {age:.0f} s ago"
            return None, f"what is kept is {age:.0f} s old, and ttl_s is {terms.ttl_s:g}"
        newest = self._store.cached(f"newest {terms.name}")
        if newest is None:
            return None, "nothing was kept for this component yet"
        last = self._codec.decode(newest)
        others = [name for name, mark in parts.items() if last.get(name) != mark]
        if not others:
            return None, "what was kept is there no more"
        return None, f"other than in what was kept last: {', '.join(others)}"

    def _parts_of(self, runnable: Runnable, terms: CacheTerms) -> dict[str, str]:
        """The parts of the key, by name. Errors: `EncodeError`."""
        injected = sorted((runnable.injected or {}).items())
        return {
            "code": terms.code,
            "inputs": self._mark(runnable.args),
            "context": self._mark(injected),
            "extras": self._mark(terms.extras),
        }

    def _mark(self, value: Any) -> str:
        encode: Callable[[Any], bytes] = getattr(self._codec, "plain_bytes", self._codec.encode)
        return hashlib.sha256(encode(value)).hexdigest()

    def _note(self, live: Live, found: tuple[Any] | None, why: str, parts: dict[str, str]) -> None:
        place = (live.run.id, live.bundle.runnables[0].component)
        self._notes[place] = {"hit": found is not None, "why": why, "key": dict(parts)}
        self._notes.move_to_end(place)
        if len(self._notes) > NOTES:
            self._notes.popitem(last=False)


def key_of(parts: dict[str, str]) -> str:
    """The key of an entry: from its parts, by their names."""
    text = "\n".join(f"{name} {parts[name]}" for name in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()
