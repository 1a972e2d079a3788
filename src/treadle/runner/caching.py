"""Caching: what a component gave before for the same code, inputs and extras is given again, without calling it.

The store is asked in the thread that writes to it, so that the loop waits for nobody. Where it cannot be asked, the
work is done as it would be without a cache. Of two that want the same at the same time one is given to its executor;
the other waits for it, and looks again.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from msgspec import Struct, structs

from treadle.engine.execute import outcome_of
from treadle.engine.jobs import cancelled_bundle
from treadle.errors import Corrupt, EncodeError
from treadle.interfaces import Caches, Clock, Codec
from treadle.model.runnables import OK, Outcome, Runnable
from treadle.model.sentinels import ABSENT
from treadle.runner.live import Live
from treadle.runner.looks import Look, Noted, age, encoded, looks_of
from treadle.runner.record import Run
from treadle.runner.stimuli import CacheTerms

logger = logging.getLogger("treadle.runner")

NOTES: Final = 1_000
"""Of so many components of runs, and so many bundles, it is remembered here what was found; the store has all."""


class Found(Struct, frozen=True):
    """What a look came to: a value in a tuple, if there was one; and why that is so."""

    value: tuple[Any] | None
    why: str
    run: str | None = None
    computed_at: float | None = None


class Asked(Struct, frozen=True):
    """A bundle for which the cache is asked, and the two ways to go on with it."""

    number: int
    live: Live
    parts: dict[str, str]
    terms: CacheTerms
    go_on: Callable[[], None]
    answer: Callable[[int, list[Outcome]], None]
    is_first: bool
    """Others that want the same wait until it is answered."""

    @property
    def key(self) -> str:
        """The key of the entry."""
        return key_of(self.parts)


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
        self._given: dict[int, Asked] = {}
        """The bundles whose outcomes are to be kept."""
        self._waiting: dict[str, dict[int, Asked]] = {}
        """By the key of what is being looked for, or computed: the bundles that wait for it."""
        self._waits: dict[int, Asked] = {}
        """The same bundles, by their numbers."""
        self._notes: OrderedDict[tuple[str, str], Noted] = OrderedDict()
        self._unstored: dict[tuple[str, str], Noted] = {}
        self._is_noting = False
        self._hits: OrderedDict[int, str] = OrderedDict()

    def explain(self, run: Run, component: str) -> Look | None:
        """What the latest look of a component of a run found, as far as it is remembered here."""
        noted = self._notes.get((run.run_key, component))
        return None if noted is None else noted.whole()

    def told(self, story: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """A run's story with what was given from the cache: where a bundle that came back was not executed."""
        for row in story:
            hits = [self._hits[number] for number in _came(row) if number in self._hits]
            if hits:
                row["cached"] = "; ".join(hits)
        return story

    # ----------------------------------------------------------------------------------- looking up

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
            found = Found(None, f"the inputs cannot be stored: {error.message}")
            self._note(live, found, {})
            go_on()
            return
        asked = Asked(number, live, parts, terms, go_on, answer, is_first=True)
        waiting = self._waiting.get(asked.key)
        if waiting is None:
            self._waiting[asked.key] = {}
            self._look(asked)
        else:
            waiting[number] = self._waits[number] = structs.replace(asked, is_first=False)

    def _look(self, asked: Asked) -> None:
        """Ask the store, and decide in the loop's thread."""

        def look() -> None:
            try:
                found = self._find(asked.parts, asked.terms)
            except Exception as error:  # noqa: BLE001 - a cache that does not answer is none
                if isinstance(error, Corrupt):
                    logger.warning("run %s: %s", asked.live.run.id, error)
                found = Found(None, f"the cache could not be read: {error}")
            self._call(partial(self._decide, asked, found))

        self._do(look)

    def _decide(self, asked: Asked, found: Found) -> None:
        live, number = asked.live, asked.number
        if live.why:
            self._land(asked)
            asked.answer(number, cancelled_bundle(live.bundle, "withdrawn"))
            return
        self._note(live, found, asked.parts)
        if found.value is None:
            self._given[number] = asked
            asked.go_on()
            return
        self._hits[number] = found.why
        if len(self._hits) > NOTES:
            self._hits.popitem(last=False)
        self._land(asked)
        given = outcome_of(live.bundle.runnables[0], found.value[0])
        asked.answer(number, [structs.replace(given, cached=found.why)])

    def withdraw(self, number: int) -> bool:
        """Answer a bundle that waits for another one; whether it did."""
        asked = self._waits.pop(number, None)
        if asked is None:
            return False
        del self._waiting[asked.key][number]
        asked.answer(number, cancelled_bundle(asked.live.bundle, "withdrawn"))
        return True

    def _find(self, parts: dict[str, str], terms: CacheTerms) -> Found:
        """What is kept, and why that counts or not."""
        body = self._store.cached(key_of(parts))
        if body is not None:
            kept = self._codec.decode(body)
            run, at, value = kept["run"], kept["at"], kept["value"]
            old_s = max(0.0, self._clock.now() - at)
            if terms.ttl_s is None or old_s <= terms.ttl_s:
                return Found((value,), f"computed {age(old_s)} ago by run {run!r}", run, at)
            why = f"what is kept is {old_s:.0f} s old, and ttl_s is {terms.ttl_s:g}"
            return Found(None, why, run, at)
        newest = self._store.cached(newest_of(terms.name))
        if newest is None:
            return Found(
                None, "nothing was kept for this component yet, or all of it was let go of"
            )
        last = self._codec.decode(newest)
        others = [name for name, mark in parts.items() if last.get(name) != mark]
        if not others:
            return Found(None, "what was kept was let go of: it is there no more")
        return Found(None, f"other than in what was kept last: {', '.join(others)}")

    # -------------------------------------------------------------------------------------- keeping

    def keep(self, number: int, live: Live | None, outcomes: Sequence[Outcome]) -> None:
        """Keep what a bundle gave, if it is to be kept; any thread may call it."""
        asked = self._given.pop(number, None)
        if asked is None:
            return
        if live is not None and not live.why and len(outcomes) == 1:
            outcome = outcomes[0]
            if outcome.status == OK and outcome.value is not ABSENT:
                self._keep(asked, outcome.value)
        self._call(partial(self._land, asked))

    def _keep(self, asked: Asked, value: Any) -> None:
        run, terms, at = asked.live.run, asked.terms, self._clock.now()
        try:
            body = self._codec.encode({"value": value, "at": at, "run": run.id})
        except EncodeError as error:  # such a value is computed each time
            self._add(asked, f"what it gave cannot be stored: {error.message}")
            return
        newest = self._codec.encode({**asked.parts, "at": at})
        entries = {asked.key: body, newest_of(terms.name): newest}

        def save() -> None:
            try:
                self._store.put_cached(entries)
            except Exception as error:  # noqa: BLE001 - nobody counts on it
                logger.warning("run %s: what was computed was not kept: %s", run.id, error)
                self._add(asked, f"what it gave could not be kept: {error}")

        self._do(save)

    def _land(self, asked: Asked) -> None:
        """Whoever waited for this one looks for itself now, and computes what it does not find."""
        if asked.is_first:
            for number, other in self._waiting.pop(asked.key).items():
                del self._waits[number]
                self._look(other)

    # --------------------------------------------------------------------------------------- noting

    def _note(self, live: Live, found: Found, parts: dict[str, str]) -> None:
        """Note what was found, here and in the store."""
        runnable, is_hit = live.bundle.runnables[0], found.value is not None
        look = Look(
            hit=is_hit,
            why=found.why,
            key=parts,
            at=self._clock.now(),
            work=runnable.id,
            run=found.run,
            computed_at=found.computed_at,
            hits=int(is_hit),
            misses=int(not is_hit),
        )
        place = (live.run.run_key, runnable.component)
        noted = self._notes.get(place)
        if noted is None:
            noted = self._notes[place] = Noted()
            if len(self._notes) > NOTES:
                self._notes.popitem(last=False)
        else:
            self._notes.move_to_end(place)
        noted.add(look)
        self._store_later(live.run, runnable.component, noted)

    def _add(self, asked: Asked, text: str) -> None:
        """Say more of a look whose work was done."""
        run, runnable = asked.live.run, asked.live.bundle.runnables[0]
        noted = self._notes.get((run.run_key, runnable.component))
        if noted is not None and noted.latest is not None and noted.latest.work == runnable.id:
            noted.latest.why += f"; {text}"
            self._store_later(run, runnable.component, noted)

    def _store_later(self, run: Run, component: str, noted: Noted) -> None:
        """Have it stored with all that is noted until then."""
        if not run.options.is_stored:
            return
        self._unstored[run.id, component] = noted
        if not self._is_noting:
            self._is_noting = True
            self._do(self._store_notes)

    def _store_notes(self) -> None:
        self._is_noting = False
        runs: dict[str, dict[str, Noted]] = {}
        while self._unstored:
            (run_id, component), noted = self._unstored.popitem()
            runs.setdefault(run_id, {})[component] = noted
        for run_id, by_component in runs.items():
            if any(noted.before is None for noted in by_component.values()):
                stored = looks_of(self._store, self._codec, run_id)
                for name, noted in by_component.items():
                    noted.begin_from(stored.get(name))
            looks = {name: noted.whole() for name, noted in by_component.items()}
            self._store.put_looks(run_id, encoded(looks, self._codec))

    # ----------------------------------------------------------------------------------------- keys

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


def key_of(parts: dict[str, str]) -> str:
    """The key of an entry: from its parts, by their names."""
    text = "\n".join(f"{name} {parts[name]}" for name in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()


def newest_of(component: str) -> str:
    """The key under which stands which parts the newest entry of a component has."""
    return f"newest {hashlib.sha256(component.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _came(row: dict[str, Any]) -> Sequence[int]:
    """The bundles that came back, of a row of a story."""
    return row["of"] or () if row["stimulus"] == "Finished" else ()
