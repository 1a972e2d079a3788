"""Logs whose fingerprints are of an earlier scheme: the same code is the same, and other code is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import treadle as td
from tests.upgrade.versions import changes, orders, plus_two
from treadle.interfaces import Append, RunInfo
from treadle.model.definition import digest_of
from treadle.model.fingerprints import NARROW, scheme_of
from treadle.testing import check_history
from treadle.upgrade import upgraded
from treadle.wiring import make_store

PATIENCE_S = 30


def helped(x: int) -> int:
    """What a step calls."""
    return x + 1


def earlier(workflow: td.Workflow, events: Any) -> list[Any]:
    """A log as it was written when fingerprints saw no further than the function."""
    marks = {each.name: each.component.fingerprint_by(NARROW) for each in workflow.at(0).lowered()}
    head, *rest = events
    shapes = tuple(structs.replace(each, fingerprint=marks[each.name]) for each in head.components)
    digest = digest_of(shapes, NARROW)
    return [structs.replace(head, components=shapes, fingerprint=digest), *rest]


def old_log() -> list[Any]:
    """A run of `orders` with one input done and one begun."""
    run = orders().with_run_key("k").react_until_satisfied(1).plan_eagerly(5)
    return earlier(run, run.log())


def test_the_same_code_goes_on() -> None:
    """Under every word, and the log says what it said."""
    log = old_log()

    assert changes(orders(), log) == {}
    for word in ("refuse", "keep", "adopt", "recompute"):
        run = upgraded(orders(), log, word)
        assert list(run.log()) == log
        assert td.Workflow.from_log(orders(), run.log()) == run
        assert run.react_until_satisfied().results(input=1) == {"total": 80}
    assert list(check_history(orders(), log).log()) == log


def test_other_code_is_told_and_adopted() -> None:
    """Both fingerprints are told by the scheme of the log; from the adoption on, it is that of today."""
    today, log = orders(plus_two), old_log()

    with pytest.raises(td.errors.CodeChanged) as caught:
        upgraded(today, log)
    (difference,) = caught.value.differences
    assert difference.component == "price"
    assert scheme_of(difference.recorded) == scheme_of(difference.today) == NARROW
    done = upgraded(today, log, "adopt")
    assert list(done.log())[: len(log)] == log
    assert scheme_of(done.log()[-1].component.fingerprint) != NARROW
    assert changes(today, done.log()) == {}
    assert changes(orders(), done.log()) == {"price": "code_changed"}
    kept = upgraded(today, log, "keep", earlier=[orders()])
    assert list(kept.log()) == log
    assert changes(today, upgraded(today, log, "recompute").log()) == {}


def test_a_stored_run_is_brought_back(tmp_path: Path) -> None:
    """It is not parked for the sake of the scheme, and other code still is refused."""
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    log = old_log()
    kept: Any = make_store(url)
    digest = log[0].fingerprint
    kept.create(RunInfo(id="a", workflow="orders", run_key="k", fingerprint=digest))
    kept.append([Append(run_id="a", expected=0, events=tuple(log), status="running")])
    kept.close()

    with td.Runner(store=url, workflows=[orders(plus_two)]) as runner:
        with pytest.raises(td.errors.RunEnded, match="code_changed: .*\n.*'price'"):
            runner.resume("a")
    with td.Runner(store=url, workflows=[orders(), orders(plus_two)]) as runner:
        runner.resume("a")
        assert runner.run("a", 7).result(PATIENCE_S) == {"total": 160}


def test_what_a_function_calls_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the scheme of today a helper is part of the code; an older log does not know of it."""

    def made() -> td.Workflow:
        return td.workflow("w").add(td.step(lambda x: helped(x), name="s"))

    log = made().react_until_satisfied(1).log()
    old = earlier(made(), log)
    monkeypatch.setitem(globals(), "helped", plus_two)

    assert changes(made(), log) == {"s": "code_changed"}
    assert changes(made(), old) == {}
