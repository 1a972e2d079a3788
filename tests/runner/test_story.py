"""What a machine remembers of what led to what: short, JSON-ready, and without the values that went by."""

import json

import treadle as td
from tests.runner.machines import Desk, Together, boom, desk, line_of
from treadle.runner import stimuli as say
from treadle.runner.requests import STORY_LENGTH
from treadle.runner.story import row_of, shown


def test_a_story_tells_what_led_to_what():
    """Each stimulus with its moment, what it was about, the status after it, and all that it led to."""
    d = Desk(line_of("a"), {"a": td.Policy(timeout_s=2.0)})
    d.begin()
    d.submit("SECRET", deadline_at=60.0)
    d.now = 1.0
    d.began(1)
    d.finish(1)
    d.woke(3.0)
    d.stop()

    assert d.machine.story() == [
        {"n": 1, "at": 0.0, "stimulus": "Begin", "of": None, "status": "idle", "led_to": []},
        {
            "n": 2,
            "at": 0.0,
            "stimulus": "Submit",
            "of": 1,
            "status": "running",
            "led_to": ["Store 2", "Reply 1", "Execute 1: a@0", "WakeAt 60.0"],
        },
        {
            "n": 3,
            "at": 1.0,
            "stimulus": "Began",
            "of": 1,
            "status": "running",
            "led_to": ["WakeAt 3.0"],
        },
        {
            "n": 4,
            "at": 1.0,
            "stimulus": "Finished",
            "of": [1],
            "status": "idle",
            "led_to": ["Store 3", "InputFinished 0", "Became idle"],
        },
        {"n": 5, "at": 3.0, "stimulus": "Woke", "of": None, "status": "idle", "led_to": []},
        {
            "n": 6,
            "at": 3.0,
            "stimulus": "Stop",
            "of": 2,
            "status": "stopped",
            "led_to": ["Reply 2", "Became stopped"],
        },
    ]
    assert "SECRET" not in json.dumps(d.machine.story())


def test_a_story_tells_of_attempts_bundles_and_drives():
    """How much more a bundle holds, which attempt it is, what a failure led to."""
    d = desk(line_of("a", function=boom), {"a": td.Policy(max_retries=1)})
    d.submit(1)
    d.finish(1)
    assert d.machine.story()[-1]["led_to"] == ["Store 3", "Tell retry", "Execute 2: a@0 attempt 2"]

    d = desk(line_of("a", "b"), scheduler=Together(), are_seen=True)
    d.submit(1)
    d.submit(2)
    d.finish(1, 2)
    assert d.machine.story()[-1]["of"] == [1, 2]
    assert d.machine.story()[-1]["led_to"] == ["Store 5", "Execute 3: b@0 and 1 more"]

    d = desk(line_of("a"), default="inline", is_instant=False)
    d.submit(1)
    d.stored(2)
    assert d.machine.story()[-1] == {
        "n": 3,
        "at": 0.0,
        "stimulus": "Stored",
        "of": 2,
        "status": "running",
        "led_to": ["Reply 1", "Execute 1: a@0"],
    }


def test_a_story_tells_of_a_step_as_of_anything_else():
    """Of what came back, was stored and led to the next bundle; its row is kept in short."""
    d = desk(line_of("a", "b", "c"))
    d.submit(1)
    d.finish(1)
    d.now = 4.0
    d.finish(2)

    assert d.machine.story()[-1] == {
        "n": 4,
        "at": 4.0,
        "stimulus": "Finished",
        "of": [2],
        "status": "running",
        "led_to": ["Store 4", "Execute 3: c@0"],
    }


def test_only_the_latest_is_remembered():
    """However long a run lives; the count goes on."""
    d = desk(line_of("a"))
    for number in range(1, STORY_LENGTH + 10):
        d.began(number)
    story = d.machine.story()

    assert len(story) == STORY_LENGTH
    assert [row["n"] for row in story] == list(range(11, STORY_LENGTH + 11))


def test_of_many_bundles_the_first_are_named():
    """A row stays short."""
    finished = say.Finished(tuple([(number, []) for number in range(20)]), 4.0)

    assert shown(row_of(7, finished, "running", []))["of"] == list(range(8))


def test_the_next_machine_goes_on_with_the_story():
    """What led to a crash is what one wants to read afterwards, the crash included."""
    d = desk(line_of("a"))
    d.submit(1)
    d.machine.note_crash(say.Woke(5.0))
    old = d.machine
    d.restart()
    d.machine.take_over(old)
    d.begin()

    told = [(row["n"], row["stimulus"], row["status"]) for row in d.machine.story()]
    assert told == [
        (1, "Begin", "idle"),
        (2, "Submit", "running"),
        (2, "Woke", "crashed"),
        (3, "Begin", "running"),
    ]
