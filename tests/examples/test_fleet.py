"""The fleet example: what it says of itself is so."""

import pytest


@pytest.mark.slow
def test_a_killed_runners_orders_are_done_by_the_others(capsys):
    """None is lost, and no outcome counts twice; only what the killed one had under way is executed again."""
    pytest.importorskip("psycopg", reason="the package psycopg is not installed")
    from examples import fleet

    found = fleet.main(orders=24, pace=0.3)
    said = capsys.readouterr().out
    if found is None:
        pytest.skip(said.strip())

    assert (found["orders"], found["lost"], found["applied_twice"], found["damaged"]) == (
        24,
        0,
        0,
        0,
    )
    assert found["executed_twice"] <= fleet.AT_ONCE
    assert 2 <= found["most_charges"] <= fleet.CHARGES
    assert found["most_executions"] <= 2
    assert "runner 3 was killed (x)" in said
    assert "outcomes lost: 0, applied twice: 0" in said
