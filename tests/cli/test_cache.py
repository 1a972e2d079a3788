"""The cache at the command line: what was given from it is seen, and `gc` lets go of what is too much."""

from pathlib import Path

import pytest

from tests.cli.calling import Call

SLOW = '''
import treadle as td

@td.step
def slow(number):
    """Notes that it was called."""
    with open("calls", "a") as calls:
        calls.write(f"{number}\\n")
    return "x" * number

slowly = td.workflow("slowly", steps=[slow], policies={"slow": td.Policy(cache=td.Cache())})
'''


@pytest.fixture
def kept(folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command, with a run X that computed something, and Y that was given it."""
    monkeypatch.setenv("TREADLE_STORE", "runs.db")
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")
    for id in ("X", "Y"):
        assert call("run", "slow.py", "--input", "5000", "--id", id).code == 0
    assert (folder / "calls").read_text(encoding="utf-8") == "5000\n"
    return call


def test_what_came_from_the_cache_is_seen(kept: Call) -> None:
    """By `show`, for people and for programs, and by `logs`; of the other run it says why not."""
    shown = kept("show", "Y").out
    assert "slow: 1 from the cache, 0 computed" in shown
    assert "slow@0 was given: computed 0 s ago by run 'X'" in shown
    assert "0 from the cache, 1 computed" in kept("show", "X").out
    data = kept("show", "X", "--json").objects[0]["cache"]["slow"]
    assert (data["hit"], data["misses"]) == (False, 1)
    assert "nothing was kept for this component yet" in data["why"]
    assert kept("logs", "Y").out.count("from the cache") == 1
    assert "from the cache" not in kept("logs", "X").out
    cached = [each for each in kept("logs", "Y", "--json").objects if each.get("cached")]
    assert [(each["event"], each["node"]) for each in cached] == [("Applied", "slow")]


def test_what_is_too_much_goes(kept: Call, folder: Path) -> None:
    """By its age, or until so much is left; what runs found out stays to be seen."""
    nothing = kept("gc", "--cache-unused-for", "1d", "--cache-most", "1GB").out
    assert nothing.startswith(
        "let go of 0 runs, 0 events, 0 large values, 0 cached entries (0 B); 2 stay in the cache ("
    )
    assert "2 stay in the cache" in kept("gc").out
    gone, left = (
        kept("gc", "--cache-most", "0B", "--json").objects[0][x] for x in ("forgotten", "cache")
    )
    assert gone["cached"] == 2
    assert gone["cached_bytes"] > 100
    assert left == {"entries": 0, "bytes": 0}
    assert kept("gc").out == "let go of 0 runs, 0 events, 0 large values\n"
    assert "1 from the cache" in kept("show", "Y").out
    assert kept("run", "slow.py", "--input", "5000", "--id", "Z").code == 0
    assert (folder / "calls").read_text(encoding="utf-8") == "5000\n" * 2
    assert "2 cached entries" in kept("gc", "--cache-unused-for", "0s").out


@pytest.mark.parametrize("words", [("--cache-unused-for", "long"), ("--cache-most", "much")])
def test_what_is_no_limit_is_refused(kept: Call, words: tuple[str, ...]) -> None:
    """Before anything is let go of."""
    called = kept("gc", *words)
    assert called.code == 2
    assert f"{words[1]!r} is no" in called.err
