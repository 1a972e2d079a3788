"""Runs that outlive their process: killed, told to stop, given again; the real command in processes of its own."""

import json
import signal
from collections import Counter
from pathlib import Path
from time import monotonic

import pytest

from tests.cli.durable import KEEP_S, Folder
from tests.durability.places import end_leases

pytestmark = pytest.mark.slow

RUN = ("run", "shop.py", "--inputs", "feed.jsonl", "--id", "X")
LAST = "12 inputs: 11 with a result, 0 without a result, 1 failed"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder to work in."""
    return Folder(tmp_path)


@pytest.fixture
def shared(tmp_path: Path, url: str) -> Folder:
    """A folder whose runs are kept in a file in it, or in a database."""
    return Folder(tmp_path, "" if url.startswith("sqlite") else url)


def test_a_run_is_kept_by_default_and_says_where(folder: Folder) -> None:
    """Its id is made up, and it is in a file in the current folder."""
    called = folder.treadle("run", "shop.py", "--input", "4")
    *_, ending, place = called.out.splitlines()
    (info,) = folder.treadle("ls", "--json").objects

    assert called.code == 0
    assert ending == "1 input: 1 with a result, 0 without a result, 0 failed"
    assert place == f"run {info['id']}, in treadle.db: idle, 4 events"
    assert info["status"] == "idle"
    assert info["owner"] is None


@pytest.mark.parametrize("again", [RUN, ("resume", "X", "shop.py")], ids=["run", "resume"])
def test_after_a_kill_nothing_that_was_stored_is_executed_again(
    shared: Folder, again: tuple[str, ...]
) -> None:
    """Only what was under way when SIGKILL came is; each line is accounted for, as if nothing had been."""
    shared.killed(*RUN, "--executor", "threads:3", waits=(10, 11))
    before = shared.calls()
    called = shared.treadle(*again)

    assert called.code == 0
    assert called.out.splitlines()[-2] == LAST
    assert "10 of the inputs were finished before this began" in called.out
    assert "halve          11       1" in called.out
    assert sorted(before) == list(range(12))
    assert Counter(shared.calls()) == Counter(before) + Counter([10, 11])


def test_the_account_of_a_killed_run_is_that_of_one_that_was_not(folder: Folder) -> None:
    """Objects for programs are the same, line for line, but for what says that it was so."""
    folder.killed(*RUN, "--executor", "threads:3", waits=(10, 11))
    killed = folder.treadle(*RUN, "--json").objects
    whole = folder.treadle(*RUN[:-1], "Y", "--json").objects

    assert killed[:-1] == whole[:-1]
    assert killed[-1]["endings"] == whole[-1]["endings"]
    assert killed[-1]["components"] == whole[-1]["components"]
    assert killed[-1]["failures"] == whole[-1]["failures"]
    assert (killed[-1]["finished_before"], whole[-1]["finished_before"]) == (10, 0)
    assert (killed[-1]["run"], killed[-1]["store"]) == ("X", "treadle.db")


def test_killed_again_and_again_it_comes_to_its_end(folder: Folder) -> None:
    """Each life gets further; in the end every line was taken once."""
    folder.killed(*RUN, "--executor", "threads:3", "--max-open", "2", waits=(3, 4))
    folder.killed(*RUN, "--executor", "threads:3", "--max-open", "2", waits=(8, 9))
    called = folder.treadle(*RUN)
    accepted = [
        event["value"]
        for event in folder.treadle("logs", "X", "--json").objects
        if event["event"] == "InputAccepted"
    ]

    assert called.out.splitlines()[-2] == LAST
    assert accepted == list(range(12))
    assert Counter(folder.calls()) == Counter([*range(12), 3, 4, 8, 9])


def test_the_same_command_feeds_nothing_twice(folder: Folder) -> None:
    """Lines are known by number and content: new ones are taken, others are there already."""
    folder.treadle(*RUN)
    again = folder.treadle(*RUN)
    folder.feed(*range(12), 12, 13)
    more = folder.treadle(*RUN)

    assert again.out.splitlines()[-2] == LAST
    assert "12 of the inputs were finished before this began" in again.out
    assert more.out.splitlines()[-2].startswith("14 inputs: 13 with a result")
    assert folder.calls() == [*sorted(folder.calls()[:12]), 12, 13] or len(folder.calls()) == 14


def test_a_field_may_be_the_key(folder: Folder) -> None:
    """What holds the same under this name is the same input, wherever it stands."""
    text = (
        "import treadle as td\nw = td.workflow('w', steps=[td.step(lambda o: o['n'], name='s')])\n"
    )
    (folder.path / "own.py").write_text(text, encoding="utf-8")
    folder.feed('{"id": "a", "n": 1}', '{"id": 2, "n": 2}', '{"n": 3}', '{"id": "a", "n": 9}')
    run = ("run", "own.py", "--inputs", "feed.jsonl", "--id", "K", "--key", "id", "--json")
    first = folder.treadle(*run, "--executor", "inline").objects
    folder.feed('{"id": 2, "n": 7}', '{"id": "b", "n": 4}')
    second = folder.treadle(*run).objects

    assert [each["results"]["s"] for each in first[:-1]] == [1, 2, 3, 1]
    assert [each["input"] for each in first[:-1]] == [0, 1, 2, 0]
    assert [(each["input"], each["results"]["s"]) for each in second[:-1]] == [(1, 2), (3, 4)]


def test_what_is_to_be_fed_again_is(folder: Folder) -> None:
    """With --again each line is an input of its own."""
    one = ("run", "shop.py", "--input", "4", "--id", "X")
    folder.treadle(*one)
    assert "1 of the inputs was finished before" in folder.treadle(*one).out
    folder.treadle(*one, "--again")

    assert folder.calls() == [4, 4]


def test_an_interrupted_run_says_how_to_go_on(folder: Folder) -> None:
    """After the first signal what is under way is finished; the same command takes the rest."""
    arguments = (*RUN, "--executor", "threads:1", "--max-open", "1")
    with folder.at_work(*arguments, waits=(5,)) as popen:
        popen.send_signal(signal.SIGINT)
        assert popen.stderr is not None
        assert "no further inputs are taken" in popen.stderr.readline()
        folder.let_go(5)
        out, _ = popen.communicate(timeout=KEEP_S)
    assert popen.returncode == 130
    *_, ending, place, how = out.splitlines()
    assert ending.endswith("6 not run")
    assert place == "run X, in treadle.db: idle, 19 events"
    assert how == "to go on: the same command, with --id X"
    assert folder.treadle(*RUN).out.splitlines()[-2] == LAST
    assert sorted(folder.calls()) == list(range(12))


def test_ephemeral_runs_leave_nothing(folder: Folder) -> None:
    """Neither a file nor a word about one."""
    called = folder.treadle(*RUN, "--ephemeral")

    assert called.out.splitlines()[-1] == LAST
    assert not list(folder.path.glob("*.db*"))


def test_the_environment_names_the_store_and_an_option_another(folder: Folder) -> None:
    """The option is before the environment, and that before the file in the current folder."""
    one = ("run", "shop.py", "--input", "4")
    folder.treadle(*one, "--id", "E", TREADLE_STORE="sqlite:///env.db")
    folder.treadle(*one, "--id", "O", "--store", "option.db", TREADLE_STORE="env.db")

    assert [each["id"] for each in folder.treadle("ls", "--store", "env.db", "--json").objects] == [
        "E"
    ]
    assert [
        each["id"] for each in folder.treadle("ls", "--store", "option.db", "--json").objects
    ] == ["O"]
    assert not (folder.path / "treadle.db").exists()


def test_two_processes_do_not_run_one_store(folder: Folder) -> None:
    """The second says who has it, executes nothing, and exits with 2."""
    with folder.at_work(*RUN, "--executor", "threads:1", waits=(5,)) as popen:
        called = folder.treadle("run", "shop.py", "--input", "4", "--id", "Y")
        assert called.code == 2
        assert called.out == ""
        assert f"process {popen.pid} runs the workflows of this file already" in called.err
        assert called.err.count("\n") == 1
        folder.let_go(5)
        assert popen.wait(KEEP_S) == 0


def test_a_run_is_cancelled_from_outside_while_it_is_at_work(folder: Folder) -> None:
    """The runner takes it from the inbox, says so, and ends; it is for good."""
    with folder.at_work(*RUN, "--executor", "threads:1", "--max-open", "2", waits=(5,)) as popen:
        called = folder.treadle("cancel", "X", "--reason", "no more")
        assert (called.code, called.out, called.err) == (0, "X: the cancellation was taken\n", "")
        out, err = popen.communicate(timeout=KEEP_S)
    assert (popen.returncode, err) == (1, "treadle: the run was cancelled: no more.\n")
    assert "2 cancelled" in out
    assert out.splitlines()[-1].startswith("run X, in treadle.db: cancelled")
    again = folder.treadle(*RUN)
    assert again.code == 2
    assert "the run 'X' was cancelled (no more), which is for good" in again.err


def test_one_input_is_cancelled_from_outside(folder: Folder) -> None:
    """The others go on."""
    with folder.at_work(*RUN, "--executor", "threads:2", waits=(5, 6)) as popen:
        called = folder.treadle("cancel", "X", "--input", "5", "--json")
        assert called.objects == [{"run": "X", "stored": True, "taken": True, "refused": None}]
        folder.let_go(5, 6)
        out, _ = popen.communicate(timeout=KEEP_S)
    assert popen.returncode == 0
    assert "12 inputs: 10 with a result, 0 without a result, 1 failed, 1 cancelled" in out


def test_readers_look_at_a_run_that_is_at_work(shared: Folder) -> None:
    """`ls`, `show`, `logs`, `verify`, `export` and `backup` disturb nobody, and need none of the user's code."""
    with shared.at_work(*RUN, "--executor", "threads:3", waits=(10, 11)) as popen:
        shared.settled(10)
        (info,) = shared.treadle("ls", "--json").objects
        assert info["status"] == "running"
        assert info["held_by"].endswith(f":{popen.pid}")
        shown = shared.treadle("show", "X")
        assert "12 inputs: 9 with a result, 0 without a result, 1 failed, 2 unfinished" in shown.out
        assert "<not registered: shop:Half>" in shared.treadle("logs", "X").out
        assert shared.treadle("verify").code == 0
        assert shared.treadle("export", "X", "--to", "X.run").code == 0
        assert shared.treadle("backup", "copy.db").code == 0
        if not shared.store:  # a file is for one process
            swept = shared.treadle("gc")
            assert swept.code == 2
            assert "runs the workflows of this file already" in swept.err
        shared.let_go(10, 11)
        assert popen.wait(KEEP_S) == 0
    (copied,) = shared.treadle("ls", "--store", "copy.db", "--json").objects
    assert copied["position"] == info["position"]


def test_logs_follow_a_run_to_its_end(shared: Folder) -> None:
    """All events come once and in order, and then it ends by itself."""
    with shared.at_work(*RUN, "--executor", "threads:3", waits=(10, 11)) as popen:
        shared.settled(10)
        with shared.begun("logs", "X", "--follow", "--json") as following:
            assert following.stdout is not None
            first = following.stdout.readline()
            shared.let_go(10, 11)
            assert popen.wait(KEEP_S) == 0
            rest = following.stdout.read()
            following.wait(KEEP_S)
    assert following.returncode == 0
    assert first + rest == shared.treadle("logs", "X", "--json").out


def test_all_runs_that_were_left_go_on(folder: Folder) -> None:
    """`resume --all` takes those that are running and nobody has, and leaves the others."""
    folder.treadle("run", "shop.py", "--input", "4", "--id", "done")
    (folder.path / "treadle.db").rename(folder.path / "done.db")
    folder.killed(*RUN, "--executor", "threads:3", waits=(10, 11))
    folder.treadle("export", "X", "--to", "X.run")
    folder.treadle("import", "X.run", "--id", "Z")
    called = folder.treadle("resume", "--all", "shop.py")

    assert called.code == 0
    assert sorted(called.out.splitlines()[:2]) == [
        "X: idle, inputs: 11 done, 1 failed",
        "Z: idle, inputs: 11 done, 1 failed",
    ]
    assert called.out.splitlines()[2] == "2 runs of shop went on"
    assert folder.treadle("resume", "--all", "shop.py", "--strict").code == 0


def test_other_runs_that_were_left_stay_so(folder: Folder) -> None:
    """A command goes on with the run that it was given, and with no other, whatever is in the store."""
    folder.killed(*RUN, "--executor", "threads:3", waits=(10, 11))
    before = folder.calls()
    assert folder.treadle("run", "shop.py", "--input", "4", "--id", "Z").code == 0

    assert folder.calls() == [*before, 4]
    listed = folder.treadle("ls", "--json").objects
    assert [(info["id"], info["status"]) for info in listed] == [("X", "running"), ("Z", "idle")]


ASKING = """
import treadle as td
ask = td.wait_for("approval", key=lambda order: order["id"])
who = td.step(lambda answer: answer["by"], name="who")
w = td.workflow("asking", steps=[(ask, [who])])
"""


def asked(folder: Folder) -> None:
    """Wait until the run has opened two waits."""
    with folder.begun("logs", "A", "--follow", "--json") as following:
        assert following.stdout is not None
        opened = 0
        while opened < 2:
            opened += json.loads(following.stdout.readline())["event"] == "WaitOpened"


def test_a_signal_reaches_the_runner_that_has_the_run(shared: Folder) -> None:
    """It is taken at once, and another one, sent after a kill, by who runs the run next."""
    (shared.path / "asking.py").write_text(ASKING, encoding="utf-8")
    orders = ("--input", '{"id": "a"}', "--input", '{"id": "b"}')
    run = ("run", "asking.py", *orders, "--id", "A", "--json")
    with shared.begun(*run) as popen:
        until_there(shared)
        asked(shared)
        signal_a = shared.treadle("signal", "A", "approval", '{"by": "Ada"}', "--key", "a")
        assert (signal_a.code, signal_a.out) == (0, "A: the signal 'approval' was taken\n")
        shown = shared.treadle("show", "A").out
        assert "    approval, input 1: for the signal 'approval' of key 'b'" in shown
        popen.send_signal(signal.SIGKILL)
        assert popen.wait(KEEP_S) == -signal.SIGKILL
    sent = shared.treadle(
        "signal", "A", "approval", '{"by": "Bo"}', "--key", "b", "--timeout-s", "0"
    )
    end_leases(shared.url)
    done = shared.treadle(*run)

    if shared.url.startswith("sqlite"):  # the lock of the one that was killed is gone
        assert (sent.code, sent.err) == (0, "")
    else:  # as far as anybody knows, a runner has the run
        assert sent.code == 1
        assert "was stored, and not taken within 0 s" in sent.err
    assert [each["results"] for each in done.objects[:-1]] == [{"who": "Ada"}, {"who": "Bo"}]


def until_there(folder: Folder) -> None:
    """Wait until the run is in the store."""
    give_up_at = monotonic() + KEEP_S
    while folder.treadle("show", "A").code:
        assert monotonic() < give_up_at
