"""The tables of docs/policies.md say what the policies are, and what the bare loops make of them."""

import treadle as td
from tests.docs.tables import code, table
from treadle.errors import BadValue, EncodeError, MissingExtra, NotPortable, TimedOut, UsageError
from treadle.policies.policy import NO_FALLBACK
from treadle.policies.retry import MISUSE, delay_s

PAGE = "docs/policies.md"
FIELDS = table(PAGE, "field")


def bare_loop(field: str) -> str:
    """What the table says of a field in a bare loop."""
    return next(row["in a bare loop"] for row in FIELDS if code(row["field"]) == field)


def test_each_field_is_listed_once_in_order() -> None:
    """Nothing is missing, and nothing is made up."""
    assert [code(row["field"]) for row in FIELDS] == list(td.Policy.__struct_fields__)


def test_defaults_are_those_of_a_policy() -> None:
    """A default that changes changes on the page."""
    plain = td.Policy()
    told = {code(row["field"]): row["default"] for row in FIELDS if row["default"].startswith("`")}

    assert {name: repr(getattr(plain, name)) for name in told} == {
        name: code(default) for name, default in told.items()
    }
    assert set(td.Policy.__struct_fields__) - set(told) == {"fallback"}
    assert plain.fallback is NO_FALLBACK


def test_examples_can_be_given() -> None:
    """Each sets its own field, to something else than the default."""
    for row in FIELDS:
        name, example = code(row["field"]), code(row["example"])
        policy = eval(f"td.Policy({example})", {"td": td})

        assert getattr(policy, name) != getattr(td.Policy(), name), name


def test_delays_are_those_computed() -> None:
    """The table of delays is what `delay_s` gives, for the fields in its heading."""
    for row in table(PAGE, "growth"):
        backoff, told = code(row["growth"]).strip('"'), next(reversed(row.values()))
        policy = td.Policy(backoff=backoff, base_delay_s=1, max_delay_s=5)
        if backoff == "jitter":
            assert all(0 < delay_s(policy, n, "a key") <= min(2**n, 5) for n in range(6))
        else:
            delays = [float(number) for number in told.split(",")]
            assert delays == [delay_s(policy, n, "a key") for n in range(len(delays))]


def test_what_is_not_retried_is_named() -> None:
    """The page names each error that counts as misuse."""
    assert set(MISUSE) == {UsageError, NotPortable, BadValue, EncodeError, MissingExtra}


def broken(_: object) -> None:
    """Fail."""
    raise OSError


def test_a_late_result_in_line_is_none_by_its_timeout_and_counts_by_its_deadline() -> None:
    """What runs in line is interrupted by nobody."""
    workflow = td.workflow("late").add(td.step(lambda x: x, name="late"))  # no call is that quick
    timed_out = workflow.react_until_satisfied(1, policies={"late": td.Policy(timeout_s=1e-9)})
    counted = workflow.react_until_satisfied(1, policies={"late": td.Policy(deadline_s=1e-9)})

    assert "a late result is none" in bare_loop("timeout_s")
    assert timed_out.failures()[0].error.type.endswith(TimedOut.__name__)
    assert "a late result counts" in bare_loop("deadline_s")
    assert counted.results() == {"late": 1}


def test_the_urgent_goes_first_in_bare_loops_too() -> None:
    """One after the other in line, and under a limit of concurrency."""
    order: list[str] = []
    workflow = (
        td.workflow("turns")
        .add(td.step(lambda _: order.append("report"), name="report"))
        .add(td.step(lambda _: order.append("alarm"), name="alarm"))
    )
    urgent = {"alarm": td.Policy(priority="high")}
    workflow.react_until_satisfied(1, policies=urgent)
    workflow.react_until_satisfied(1, policies=urgent, executor="threads:1", max_concurrency=1)

    assert "also in line" in bare_loop("priority")
    assert order == ["alarm", "report", "alarm", "report"]


def test_a_breaker_begins_anew_with_each_call() -> None:
    """What is shared over the runs of a runner is shared by nobody in bare loops."""
    workflow = td.workflow("shared").add(broken)
    policies = {"broken": td.Policy(circuit_breaker=td.CircuitBreaker(failures=1, reset_s=60))}
    for _ in range(2):
        workflow = workflow.react_until_satisfied(1, policies=policies)

    assert {bare_loop(name) for name in ("rate_limit", "max_concurrency", "circuit_breaker")} == {
        "within one call"
    }
    assert [failure.error.type for failure in workflow.failures()] == ["OSError", "OSError"]


def test_one_generation_waits_for_nothing() -> None:
    """`react` leaves what is to be tried again to the next call, whatever the delay."""
    policy = td.Policy(max_retries=1, backoff="linear", base_delay_s=60, max_delay_s=60)
    workflow = td.workflow("once").add(broken).with_policies({"broken": policy}).react(1)

    assert workflow.is_runnable()
    assert not workflow.react().is_runnable()


def test_presets_are_as_described() -> None:
    """The numbers on the page are those of the presets."""
    told = {code(row["preset"]): row["fields"] for row in table(PAGE, "preset")}
    io, llm, fast = td.Policy.io(), td.Policy.llm(), td.Policy.fail_fast()

    assert list(told) == ["td.Policy.io()", "td.Policy.llm()", "td.Policy.fail_fast()"]
    assert (io.max_retries, io.backoff, io.base_delay_s, io.timeout_s) == (2, "jitter", 0.5, 30)
    assert io.retry_on == (OSError, TimeoutError)
    assert (llm.max_retries, llm.timeout_s) == (3, 120)
    assert [delay_s(llm, n, "") for n in range(3)] == [1, 2, 4]
    assert (fast.max_retries, fast.timeout_s, fast.on_failure) == (0, 5, "halt")
