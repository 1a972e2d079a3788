"""The records of a runner: requests, and who waits for their answers."""

from treadle.runner.record import Ask


def test_all_who_wait_for_an_answer_get_it_in_the_order_of_their_asking():
    """Also those who come when it is there; it is given once."""
    ask, heard = Ask(), []
    ask.when_done(lambda done: heard.append(("a", done.value)))
    ask.when_done(lambda done: heard.append(("b", done.value)))
    ask.settle(1)
    ask.settle(2)
    ask.when_done(lambda done: heard.append(("c", done.value)))
    assert heard == [("a", 1), ("b", 1), ("c", 1)]
