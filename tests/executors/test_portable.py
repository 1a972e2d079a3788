"""Jobs and reports as bytes: what travels, and what becomes of what does not."""

import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.executors import bodies
from tests.executors.driving import failure, raised, shown
from treadle.engine.jobs import failed_report
from treadle.errors import BadValue, NotPortable, RemoteFailure
from treadle.executors import portable
from treadle.model.bundles import Bundle, Report
from treadle.model.errordata import ErrorData
from treadle.model.runnables import Outcome, Runnable
from treadle.testing.executors import link, runnable


@pytest.fixture
def without_cloudpickle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if it were not installed."""
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    portable.by_value_pickler.cache_clear()
    yield
    monkeypatch.undo()
    portable.by_value_pickler.cache_clear()


def there_and_back(*runnables: Runnable, **given) -> list[Outcome]:
    """What a worker makes of a bundle."""
    bundle = Bundle(runnables=runnables, **given)
    return portable.outcomes_of(bundle, portable.run_portable(portable.dump_job(bundle)))


def test_functions_go_by_name():
    """Plain functions, those behind a component, and builtins: no code travels."""
    calls = (bodies.double, bodies.triple.function, len)
    bundle = Bundle(runnables=tuple(runnable(call, "ab") for call in calls))

    data = portable.dump_job(bundle)

    assert portable.load_job(data).calls == calls
    assert b"cloudpickle" not in data
    assert shown(there_and_back(*bundle.runnables)) == ["abab", "ababab", 2]


def test_what_has_no_name_goes_by_value():
    """A lambda and what it captured travel where cloudpickle is installed; named functions still go by name."""
    factor = 5

    bundle = Bundle(
        runnables=(
            runnable(lambda x: bodies.double(x) * factor, 1),
            runnable(bodies.triple.function, 1),
        )
    )

    assert portable.load_job(portable.dump_job(bundle)).calls[1] is bodies.triple.function
    assert shown(there_and_back(*bundle.runnables)) == [10, 3]


def test_a_fitted_lambda_goes_by_value():
    """A callable value of the library that holds a lambda travels like the lambda."""
    from treadle.model.calls import Ignore

    assert shown(there_and_back(runnable(Ignore(lambda: 7), "unused"))) == [7]


@pytest.mark.usefixtures("without_cloudpickle")
def test_what_has_no_name_needs_cloudpickle():
    """Without it the refusal names the component, and both ways out."""
    bundle = Bundle(runnables=(runnable(bodies.double, 1), runnable(lambda x: x, 1)))

    with pytest.raises(NotPortable, match=r"'<lambda>' cannot be sent to a worker") as caught:
        portable.dump_job(bundle)

    assert caught.value.hint == (
        'define it at the top level of a module, or pip install "treadle[processes]".'
    )


def test_an_argument_that_cannot_go_is_pointed_at():
    """The refusal names component, port, place and type."""
    bundle = Bundle(runnables=(runnable(bodies.double, {"a": [threading.Lock()]}),))

    with pytest.raises(NotPortable) as caught:
        portable.dump_job(bundle)

    assert str(caught.value).startswith(
        "what 'double' takes cannot be sent to a worker: argument 0['a'][0] is a _thread.lock "
        "(cannot pickle '_thread.lock' object)."
    )


def test_main_is_not_everywhere(monkeypatch: pytest.MonkeyPatch):
    """For a worker without this program's main module, what is defined there goes by value."""
    main = sys.modules["__main__"]
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def late(x): return x + 1", scope)
    monkeypatch.setattr(main, "late", scope["late"], raising=False)
    bundle = Bundle(runnables=(runnable(scope["late"], 1),))

    by_name = portable.dump_job(bundle)
    by_value = portable.dump_job(bundle, shares_main=False)
    monkeypatch.delattr(main, "late")

    assert shown(portable.outcomes_of(bundle, portable.run_portable(by_value))) == [2]
    assert shown(portable.outcomes_of(bundle, portable.run_portable(by_name))) == ["NotPortable"]


def test_a_chain_reports_as_far_as_it_comes():
    """What was done before the failure is there; what is after it is not."""
    outcomes = there_and_back(
        runnable(bodies.double, 1), links=(link(bodies.fail), link(bodies.double))
    )

    assert shown(outcomes) == [2, "ValueError"]


def test_any_exception_fails_its_own_call_only():
    """An interrupt or an exit of one body costs no other."""
    outcomes = there_and_back(
        runnable(bodies.interrupt, 1), runnable(bodies.raise_exit, 2), runnable(bodies.adouble, 3)
    )

    assert shown(outcomes) == ["KeyboardInterrupt", "SystemExit", 6]


def test_a_job_that_cannot_be_loaded_is_reported_once_for_all():
    """Each runnable of it fails, with what loading raised."""
    outcomes = there_and_back(runnable(bodies.double, bodies.Sour()), runnable(bodies.double, 1))

    assert shown(outcomes) == ["RuntimeError", "RuntimeError"]


def test_a_result_that_cannot_come_back_is_pointed_at():
    """The failure names component, place and type; its neighbours keep their values."""
    outcomes = there_and_back(runnable(bodies.hide_lock, 1), runnable(bodies.double, 1))

    assert shown(outcomes) == ["BadValue", 2]
    assert isinstance(outcomes[0].exception, BadValue)
    assert str(outcomes[0].error).startswith(
        "BadValue: 'hide_lock' gave a dict that cannot be brought back from the worker: its result"
        "['orders'][1]['socket'].held is a _thread.lock (cannot pickle '_thread.lock' object)."
    )


def test_a_result_that_is_nested_without_end_fails():
    """Pickle's own limit is a failure of the call like any other."""
    value: list[object] = []
    for _ in range(200_000):
        value = [value]

    (report,) = portable.load_reports(portable.dump_reports([Report(status="ok", value=value)]))
    while value:  # or freeing it would take as much stack
        value = value.pop()  # type: ignore[assignment]

    assert (report.status, report.error.name) == ("failed", "BadValue")


def test_a_result_that_cannot_be_rebuilt_here_fails():
    """It left the worker, and breaks on arrival: its neighbours do not."""
    outcomes = there_and_back(runnable(bodies.give_sour, 1), runnable(bodies.double, 1))

    assert shown(outcomes) == ["BadValue", 2]
    assert "cannot be rebuilt here: cannot be loaded." in failure(outcomes[0]).text


@pytest.mark.parametrize(
    ("body", "args"),
    [(bodies.raise_two, ("3 at home",)), (bodies.raise_doubling, ("failed: once",))],
)
def test_exceptions_with_constructors_of_their_own_come_back(body, args):
    """Where pickle would fail or change the message, the exception is rebuilt from what it holds."""
    (outcome,) = there_and_back(runnable(body, 1))

    assert raised(outcome).args == args
    assert type(outcome.exception).__module__ == "tests.executors.bodies"
    assert getattr(outcome.exception, "code", 3) == 3


def test_an_exception_that_cannot_come_back_leaves_its_text():
    """Its data is whole, and a RemoteFailure stands for it."""
    (outcome,) = there_and_back(runnable(bodies.raise_holding, 1))

    assert failure(outcome).type == "tests.executors.bodies.Holding"
    assert failure(outcome).text == "locked"
    assert isinstance(outcome.exception, RemoteFailure)
    assert "the worker raised tests.executors.bodies.Holding: locked" in str(outcome.exception)


def test_an_exception_of_a_module_that_is_not_here_leaves_its_text(monkeypatch):
    """What only the worker can import is told of, too."""
    module = ModuleType("only_there")
    exec("class Lost(Exception): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_there", module)
    data = portable.dump_reports([failed_report(module.Lost("far"))])
    monkeypatch.delitem(sys.modules, "only_there")

    (report,) = portable.load_reports(data)

    assert isinstance(report.exception, RemoteFailure)
    assert "only_there.Lost: far" in str(report.exception)


def test_the_exception_says_where_it_was_raised():
    """A traceback does not travel; its lines do, as a note, and the user's frames in the data."""
    (outcome,) = there_and_back(runnable(bodies.fail, 1))

    assert [frame.function for frame in failure(outcome).frames] == ["fail"]
    (note,) = raised(outcome).__notes__
    assert note.startswith("Where it was raised, in the worker:\n")
    assert note.endswith("in fail")


def test_the_main_module_has_one_name():
    """In a worker the program's main module is called otherwise; in the data it is not."""
    error = ErrorData("__mp_main__.Late", "x", causes=(ErrorData("__mp_main__.Why", "y"),))

    (report,) = portable.load_reports(portable.dump_reports([Report(status="failed", error=error)]))

    assert report.error.type == "__main__.Late"
    assert report.error.causes[0].type == "__main__.Why"


def test_reports_need_no_names():
    """Whoever has no components at hand gets messages without them."""
    value = threading.Lock()

    (report,) = portable.load_reports(portable.dump_reports([Report(status="ok", value=value)]))

    assert report.error.text.startswith("the step gave a lock that cannot be brought back")


def test_another_process_reads_it():
    """Bytes are all that a worker needs, and all that it gives."""
    bundle = Bundle(runnables=(runnable(lambda x: x + 1, 1), runnable(bodies.fail, 2)))
    program = (
        "import sys; from treadle.executors.portable import run_portable; "
        "sys.stdout.buffer.write(run_portable(sys.stdin.buffer.read()))"
    )

    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        input=portable.dump_job(bundle),
        capture_output=True,
        check=True,
    )

    assert shown(portable.outcomes_of(bundle, run.stdout)) == [2, "ValueError"]


def test_the_protocol_is_one_that_all_supported_pythons_read():
    """A cluster's workers may be older than the client."""
    data = portable.dump_job(Bundle(runnables=(runnable(len, "a"),)))

    assert data[:2] == pickle.PROTO + bytes([5])
