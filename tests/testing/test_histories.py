"""Stored histories under the code of today."""

from typing import Any

import pytest
from msgspec import Struct, structs

import treadle as td
from tests.upgrade.versions import orders, plus_two
from treadle.codec import Codec
from treadle.stores.portable import export_run
from treadle.testing import HistoryChanged, check_history
from treadle.wiring import make_store


def test_a_history_that_goes_on_is_given_back_to_be_asked():
    """No user code runs, and what was stored is what is folded."""
    run = orders().react_until_satisfied(1).plan_eagerly(2)

    assert check_history(orders(), run.log()) == run
    adopted = check_history(orders(plus_two), run.log(), on_code_change="adopt")
    assert adopted.results(input=0) == run.results(input=0)
    check_history(orders(plus_two), run.log(), on_code_change="recompute")
    check_history(orders(plus_two), run.log(), on_code_change="keep", earlier=[orders()])


def test_a_history_that_would_be_refused_fails_the_test():
    """The report is that of the plan; it is an AssertionError, so pytest shows it as one."""
    run = orders().react_until_satisfied(1)

    with pytest.raises(AssertionError, match="price  code changed .used.") as caught:
        check_history(orders(plus_two), run.log())

    assert isinstance(caught.value, HistoryChanged)
    assert "the first event that no longer follows is 2: Applied of 'price' in input 0" in str(
        caught.value
    )
    assert caught.value.position == 2
    assert [each.component for each in caught.value.differences] == ["price"]


def test_a_history_that_cannot_be_folded_fails_the_test():
    """An event is missing, or answers work that was not there."""
    log = list(orders().react_until_satisfied(1).log())

    with pytest.raises(HistoryChanged, match="cannot be folded") as caught:
        check_history(orders(), [*log[:2], *log[3:]])
    assert caught.value.position == 3
    odd = structs.replace(log[2], node="charge")
    with pytest.raises(HistoryChanged, match="follows is 2: Applied of 'charge'"):
        check_history(orders(), [*log[:2], odd, *log[3:]])


def test_the_first_event_is_that_of_the_change_wherever_it_was_asked():
    """What a condition was asked is its part; of what was never used there is none."""

    def made(holds, last=plus_two):
        w = td.workflow("w").add(td.rule(plus_two, name="r", condition=holds))
        return w.add(td.step(last, name="after"), to=td.error_of("r"))

    log = made(lambda x: x > 1).react_until_satisfied(0).react_until_satisfied(5).log()

    with pytest.raises(HistoryChanged) as asked:
        check_history(made(lambda x: x > 2), log)
    assert asked.value.position == 2
    assert type(log[2]).__name__ == "Planned"
    with pytest.raises(HistoryChanged, match="never used") as unused:
        check_history(made(lambda x: x > 1, last=orders), log)
    assert unused.value.position is None


def exported(store, id, folder):
    """A run as a file, as the command makes it."""
    kept: Any = make_store(store)
    try:
        file = folder / f"{id}.run"
        file.write_bytes(export_run(kept, kept.codec, id))
        return file
    finally:
        kept.close()


def test_exported_runs_of_several_versions_are_checked(tmp_path):
    """A file each; large values are in it; with the earlier definitions, those runs go on, too."""
    store = f"sqlite:///{tmp_path / 'runs.db'}"
    versions = {"one": orders(), "two": orders(plus_two)}
    for id, version in versions.items():
        with td.Runner(store=store) as runner:
            runner.start(version, id)
            runner.run(id, 1).result(30)
    files = {id: exported(store, id, tmp_path) for id in versions}

    for file in files.values():
        check_history(orders(plus_two), file, on_code_change="keep", earlier=[orders()])
    assert check_history(orders(plus_two), str(files["two"])).results() == {"total": 30}
    with pytest.raises(HistoryChanged, match=r"^the history in 'one.run': would not go on"):
        check_history(orders(plus_two), files["one"])


class Order(Struct, frozen=True):
    """A value of a class of the user's."""

    text: str


def long(order: Order) -> Order:
    """What its port is annotated with is what the file may hold."""
    return structs.replace(order, text=order.text * 100_000)


def test_a_file_is_read_with_the_classes_of_the_workflow(tmp_path):
    """And with a codec that is given; what cannot be read fails the test, and says why."""
    store = f"sqlite:///{tmp_path / 'runs.db'}"
    workflow = td.workflow("w").add(td.step(long))
    with td.Runner(store=store) as runner:
        runner.start(workflow, "r")
        runner.run("r", Order("ab")).result(30)
    kept: Any = make_store(store, Codec(types=[Order]))
    file = tmp_path / "r.run"
    file.write_bytes(export_run(kept, kept.codec, "r"))
    kept.close()

    assert check_history(workflow, file).results() == {"long": Order("ab" * 100_000)}
    with pytest.raises(HistoryChanged, match="cannot be read: .*Order"):
        check_history(td.workflow("w").add(td.step(lambda x: x, name="long")), file)
    codec = Codec(types=[Order])
    check_history(
        td.workflow("w").add(td.step(lambda x: x, name="long")),
        file,
        codec=codec,
        on_code_change="adopt",
    )
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(HistoryChanged, match="not what was written"):
        check_history(workflow, file)
    with pytest.raises(FileNotFoundError):
        check_history(workflow, tmp_path / "nothing.run")
