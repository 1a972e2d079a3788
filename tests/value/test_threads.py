"""Two threads with one handle: each gets its own, right answer."""

import threading
from concurrent.futures import ThreadPoolExecutor

import treadle as td


def test_many_threads_drive_one_handle():
    """Whoever finds the memory taken rebuilds it: nobody sees another's work."""
    base = td.workflow("w").add(td.step(lambda x: x * 2, name="double")).react_until_satisfied(1)
    start = threading.Barrier(8)

    def drive(number: int) -> list[tuple[list[object], int]]:
        start.wait(timeout=30)
        seen = []
        for turn in range(50):
            w = base.react_until_satisfied(number * 1000 + turn)
            seen.append((w.raw_productions(), w.position))
        return seen

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(drive, range(8)))

    for number, seen in enumerate(results):
        assert seen == [([2, 2 * (number * 1000 + turn)], 5) for turn in range(50)]


def test_many_threads_build_on_one_template():
    """Each branch of a template has the components that its own thread added."""
    template = td.workflow("w").add(td.step(lambda x: x, name="first"))
    start = threading.Barrier(8)

    def build(number: int) -> list[list[str]]:
        start.wait(timeout=30)
        grown = []
        for turn in range(30):
            w = template.add(td.step(lambda x: x, name=f"a{number}_{turn}"), to="first")
            w = w.add(td.step(lambda x: x, name="b"), to=f"a{number}_{turn}")
            template.react_until_satisfied(turn)
            grown.append(w.components())
        return grown

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(build, range(8)))

    for number, grown in enumerate(results):
        assert grown == [["first", f"a{number}_{turn}", "b"] for turn in range(30)]
    assert template.components() == ["first"]
