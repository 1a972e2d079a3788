"""Facts that conditions let through, as views tell them."""

import treadle as td


def yes(_):
    """A condition that holds."""
    return True


def test_a_condition_added_below_a_condition_shows_what_it_let_through():
    """Both asked about one fact: whether the upper one was there before, or came with it."""
    w = td.workflow("w").add(td.step(lambda x: x, name="a"))
    above = td.condition(yes, name="above")
    below = td.condition(yes, name="below")

    one = w.add(above, to="a").react_until_satisfied(1).add(below, to="above", backfill=True)
    assert one.react_until_satisfied().results() == {"below": 1}

    two = w.react_until_satisfied(1).add(above, to="a", backfill=True)
    two = two.add(below, to="above", backfill=True).react_until_satisfied()
    assert two.results() == {"below": 1}
    assert [fact.value for fact in two.productions_by_component()["below"]] == [1]
