"""`waiting` and `answer`, in real processes, the questions on a real terminal; and what comes of a message."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.calling import Called, environment
from tests.cli.durable import KEEP_S, Folder
from treadle.codec import Codec
from treadle.stores.sqlite import SqliteStore
from treadle.wiring import make_store

FLOW = '''
import enum
from dataclasses import dataclass, field
from decimal import Decimal
import treadle as td

class Account(enum.Enum):
    TEAM = "team"
    BOARD = "board"

@dataclass
class Expense:
    who: str
    amount: int

@dataclass
class Verdict:
    """Whether it is paid."""
    approved: bool
    amount: Decimal
    account: Account = Account.TEAM
    why: str | None = None
    tags: list[str] = field(default_factory=list)

@td.step
def spend(order: dict) -> Expense:
    return Expense(**order)

@td.step
def pay(verdict: Verdict, expense: Expense):
    return [expense.who, verdict.approved, str(verdict.amount), verdict.account.name, verdict.tags]

flow = (
    td.workflow("expenses")
    .add(spend)
    .add(td.wait_for("approval", schema=Verdict, timeout_s=3600, key=lambda expense: expense.who), to="spend")
    .add(pay, to=["approval", "spend"])
)

if __name__ == "__main__":
    with td.Runner(store="sqlite:///treadle.db") as runner:
        runner.run(runner.start(flow, "X"), {"who": "Ada", "amount": 7})
        runner.checkpoint("X")
'''

RUN = ("run", "flow.py", "--id", "X", "--json")
ADA = ("--input", '{"who": "Ada", "amount": 7}')
BO = ("--input", '{"who": "Bo", "amount": 9}')


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workflow that asks, whose run X waits for an answer about Ada; the file was run by itself."""
    path = tmp_path_factory.mktemp("asking")
    (path / "flow.py").write_text(FLOW, encoding="utf-8")
    subprocess.run(
        [sys.executable, "flow.py"], cwd=path, env=environment(), check=True, timeout=KEEP_S
    )
    return path


@pytest.fixture
def asking(prepared: Path, tmp_path: Path) -> Folder:
    """A copy of it."""
    for name in ("flow.py", "treadle.db"):
        shutil.copy(prepared / name, tmp_path)
    return Folder(tmp_path)


def wait_until_asked(folder: Folder, count: int = 1) -> None:
    """Wait until so many waits of a run at work are stored."""
    for _ in range(200):
        if len(folder.treadle("waiting", "--json").objects) == count:
            return
    raise AssertionError("nothing was asked")


def on_terminal(folder: Folder, *arguments: str, typed: str) -> Called:
    """Run the command with a terminal for questions and answers, and a pipe for what it prints."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "treadle", *arguments],
        cwd=folder.path,
        env=environment(TREADLE_STORE="", TERM="dumb"),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = b"".join(iter(lambda: read(ours), b""))
        assert process.stdout is not None
        out = process.stdout.read().decode()
    os.close(ours)
    return Called(process.returncode, out, shown.decode().replace("\r", ""))


def read(terminal: int) -> bytes:
    """What was written next; on Linux the end of a terminal is an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def results(folder: Folder) -> list[object]:
    """What the run's inputs come to, when it goes on."""
    called = folder.treadle("resume", "X", "flow.py", "--json")
    assert called.code == 0, called.err
    return [each["results"] for each in called.objects[:-1]]


pytestmark = pytest.mark.slow


def test_waits_are_listed_for_people_and_for_programs(asking: Folder) -> None:
    """Who asks for what, about what, and until when; with --json the whole form."""
    head, line = asking.treadle("waiting").out.splitlines()
    (data,) = asking.treadle("waiting", "--json").objects

    assert head.split() == ["run", "name", "key", "since", "until", "asks", "for", "about"]
    assert line.startswith("X    approval  Ada")
    assert "in 59 min" in line
    assert line.endswith('approved, amount, account?, why?, tags?  {"who":"Ada","amount":7}')
    assert (data["type"], data["run"], data["key"]) == ("wait", "X", "Ada")
    assert data["deadline"] == data["since"] + 3600
    assert data["subject"] == {"who": "Ada", "amount": 7}
    assert [field["kind"] for field in data["form"]["fields"]] == [
        *("boolean", "decimal", "choice", "text", "list")
    ]
    assert asking.treadle("waiting", "--name", "other").out == "nothing waits for an answer\n"
    assert asking.treadle("waiting", "--workflow", "other", "--json").out == ""


def test_a_person_is_asked_field_by_field(asking: Folder) -> None:
    """What does not fit is asked again; nothing typed is the default; the file's classes are found by their names."""
    typed = "perhaps\nyes\n\n12,50\n12.50\n3\nBoard\n\nred\nblue\n\n"
    called = on_terminal(asking, "answer", "X", typed=typed)

    assert called.code == 0
    assert called.out == (
        "X: the signal 'approval' is left in the inbox for who runs it next, as `treadle resume X FILE`\n"
    )
    assert "Verdict, asked by the run X of expenses\nWhether it is paid.\nuntil " in called.err
    assert 'about: {\n  "who": "Ada",\n  "amount": 7\n}' in called.err
    assert "'perhaps' is not yes or no." in called.err
    assert called.err.count("Amount (a number, such as 12.50): ") == 3
    assert "  2. Board (board)\n" in called.err
    assert "'3' is not one of team, board." in called.err
    assert results(asking) == [{"pay": ["Ada", True, "12.50", "BOARD", ["red", "blue"]]}]


def test_nobody_is_waited_for_who_was_killed(asking: Folder) -> None:
    """His lease lasts for a while, and the lock on the file does not."""
    with closing(SqliteStore(asking.path / "treadle.db", Codec())) as store:
        assert store.claim("host:1:killed", KEEP_S, run_id="X")
    assert asking.treadle("ls", "--json").objects[0]["held_by"] == "host:1"
    called = asking.treadle("answer", "X", "--set", "approved=yes", "--set", "amount=3")

    assert (called.code, called.err) == (0, "")
    assert "is left in the inbox" in called.out


def test_an_answer_for_nobody_names_who_waits(asking: Folder) -> None:
    """By name where the name is wrong, by key where the key is."""
    for words, known in (
        (("aproval",), "no 'aproval' waits in the run 'X'. Did you mean 'approval'?"),
        (("--key", "Eve"), "nothing waits under the key 'Eve' in the run 'X'. Known: 'Ada'."),
        (("approval", "--key", "ada"), "under the key 'ada' in the run 'X'. Did you mean 'Ada'?"),
    ):
        called = asking.treadle("answer", "X", *words, "--set", "approved=yes")
        assert called.code == 2
        assert known in called.err


def test_nothing_is_sent_where_the_answers_end(asking: Folder) -> None:
    """Whoever closes the terminal in the middle has answered nothing."""
    called = on_terminal(asking, "answer", "X", typed="yes\n\x04")

    assert called.code == 2
    assert called.err.endswith("nothing more was typed; nothing was sent.\n")
    assert len(asking.treadle("waiting", "--json").objects) == 1
    assert [event["event"] for event in asking.treadle("logs", "X", "--json").objects][-1] == (
        "WaitOpened"
    )


def test_options_answer_without_a_terminal(asking: Folder) -> None:
    """Each field by its name; a list by one for each item."""
    sets = ("--set", "approved=no", "--set", "amount=3", "--set", "tags=a", "--set", "tags=b")
    called = asking.treadle("answer", "X", "approval", *sets, "--json")

    told = {"run": "X", "stored": True, "taken": False, "refused": None}
    assert (called.code, called.objects) == (0, [told])
    assert results(asking) == [{"pay": ["Ada", False, "3", "TEAM", ["a", "b"]]}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "not set, and needed: approved, amount."),
        (("--set", "approved=yes"), "not set, and needed: amount."),
        (("--set", "approved"), "--set 'approved' is not FIELD=VALUE"),
        (("--set", "approved=perhaps"), "--set approved: 'perhaps' is not yes or no"),
        (("--set", "aproved=yes"), "there is no field 'aproved'"),
        (("--set", "approved.by=yes"), "'approved' has no fields"),
        (("aproval",), "no 'aproval' waits in the run 'X'. Did you mean 'approval'?"),
        (("approval", "--key", "Bo"), "no 'approval' waits under the key 'Bo'"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    asking: Folder, words: tuple[str, ...], said: str
) -> None:
    """With exit code 2, and nothing is sent."""
    called = asking.treadle("answer", "X", *words)

    assert called.code == 2
    assert said in called.err


def test_a_signal_that_does_not_fit_is_not_sent(asking: Folder) -> None:
    """By the form in the log: nobody has the run, and the class is known to nobody here."""
    called = asking.treadle("signal", "X", "approval", '{"approved": true, "amount": "much"}')

    assert called.code == 2
    assert "Invalid decimal string - at `$.amount`. Hint: nothing was sent." in called.err


def test_what_comes_of_a_message_is_told(asking: Folder) -> None:
    """Taken; or refused by the run, with its reason; both also for programs."""
    with asking.begun(*RUN, *ADA, *BO, "--again") as popen:
        wait_until_asked(asking, 3)
        fits = json.dumps({"approved": True, "amount": "1"})
        ambiguous = asking.treadle("signal", "X", "approval", fits)
        no_input = asking.treadle("cancel", "X", "--input", "9")
        for_programs = asking.treadle("cancel", "X", "--input", "9", "--json")
        taken = asking.treadle("signal", "X", "approval", fits, "--key", "Bo")
        popen.send_signal(signal.SIGKILL)

    assert (ambiguous.code, ambiguous.out) == (2, "")
    assert "3 waits of 'approval' are open, and the signal names none of them" in ambiguous.err
    assert for_programs.code == 1
    assert "input 9" in for_programs.objects[0]["refused"]
    assert for_programs.objects[0]["taken"] is False
    assert (no_input.code, no_input.out) == (1, "")
    assert "the cancellation of input 9 was refused: " in no_input.err
    assert (taken.code, taken.out) == (0, "X: the signal 'approval' was taken\n")


def test_ctrl_c_ends_a_run_that_only_waits_at_once(asking: Folder) -> None:
    """There is nothing to wait for: an hour to drain is not taken, and what is left stays to be answered."""
    with asking.begun(*RUN, *ADA, "--drain-s", "3600") as popen:
        wait_until_asked(asking, 2)
        popen.send_signal(signal.SIGINT)
        out, err = popen.communicate(timeout=KEEP_S)

    assert popen.returncode == 130
    assert "treadle: all that is left waits for an answer, or for its moment.\n" in err
    assert json.loads(out.splitlines()[-1])["endings"]["unfinished"] == 1
    assert [each["status"] for each in asking.treadle("ls", "--json").objects] == ["waiting"]


@pytest.fixture
def done(asking: Folder) -> Folder:
    """The folder, with a run X that is finished."""
    asking.treadle("answer", "X", "--set", "approved=yes", "--set", "amount=3")
    results(asking)
    return asking


def test_the_code_may_have_changed(asking: Folder) -> None:
    """What becomes of the run is said as `upgrade --plan` says it: it is refused, or goes on with the code of today."""
    asking.treadle("answer", "X", "--set", "approved=yes", "--set", "amount=3")
    text = FLOW.replace("return [expense.who,", 'return ["now", expense.who,')
    (asking.path / "flow.py").write_text(text, encoding="utf-8")
    refused = asking.treadle("resume", "X", "flow.py")
    wrong = asking.treadle("resume", "X", "flow.py", "--on-code-change", "adpt")
    went_on = asking.treadle("resume", "X", "flow.py", "--json", "--on-code-change", "pay=adopt")

    assert refused.code == 2
    assert "code_changed" in refused.err
    assert "Did you mean 'adopt'?" in wrong.err
    assert went_on.code == 0, went_on.err
    assert went_on.objects[0]["results"] == {"pay": ["now", "Ada", True, "3", "TEAM", []]}


@pytest.mark.parametrize("command", ["run", "resume --all"])
def test_the_other_commands_take_the_same_words(asking: Folder, command: str) -> None:
    """`run --id` goes on with a run, and `resume --all` with all that have something to do."""
    asking.treadle("answer", "X", "--set", "approved=yes", "--set", "amount=3")
    text = FLOW.replace("return [expense.who,", 'return ["now", expense.who,')
    (asking.path / "flow.py").write_text(text, encoding="utf-8")
    if command == "run":
        words = [*RUN, "--input", '{"who": "Bo", "amount": 9}', "--max-open", "1"]
        with asking.begun(*words, "--on-code-change", "adopt") as popen:
            wait_until_asked(asking, 1)
            sets = ("--set", "approved=no", "--set", "amount=3")
            assert asking.treadle("answer", "X", *sets).code == 0
            out, err = popen.communicate(timeout=KEEP_S)
        assert popen.returncode == 0, err
        assert json.loads(out.splitlines()[0])["results"]["pay"][:2] == ["now", "Bo"]
    else:
        called = asking.treadle("resume", "--all", "flow.py", "--on-code-change", "adopt")
        assert (called.code, called.out.splitlines()[0]) == (0, "X: idle, inputs: 1 done")


@pytest.mark.parametrize(
    ("word", "spent"), [("adopt", ["Ada", True, "3"]), ("recompute", ["ADA", False, "5"])]
)
def test_a_rerun_takes_the_code_of_today(done: Folder, word: str, spent: list[object]) -> None:
    """Of what is done again, always; of other components, as the word says: what is computed again asks again."""
    text = FLOW.replace("return [expense.who,", 'return ["now", expense.who,')
    text = text.replace("return Expense(**order)", "return Expense(order['who'].upper(), 7)")
    (done.path / "flow.py").write_text(text, encoding="utf-8")
    words = ("rerun", "X", "pay", "flow.py", "--id", "Y")
    refused = done.treadle(*words, "--on-code-change", "refuse")
    made = done.treadle(*words, "--on-code-change", word)

    assert refused.code == 2
    assert "spend" in refused.err
    assert "pay" not in refused.err
    assert made.code == 0, made.err
    fits = '{"approved": false, "amount": "5"}'
    left = done.treadle("signal", "Y", "approval", fits, "--key", "ADA")
    assert "is left in the inbox" in left.out
    called = done.treadle("resume", "Y", "flow.py", "--json")
    assert called.code == 0, called.err
    assert called.objects[0]["results"] == {"pay": ["now", *spent, "TEAM", []]}


def test_compaction_says_what_is_lost_before_it_is(done: Folder) -> None:
    """Nothing is done without --yes; not even what else was asked for."""
    store = make_store(f"sqlite:///{done.path / 'treadle.db'}", is_lenient=True)
    assert store is not None
    before = store.list()
    store.close()
    refused = done.treadle("gc", "--compact", "--finished-for", "0s")
    (there,) = done.treadle("ls", "--json").objects

    assert refused.code == 2
    assert "results, failures and logs from before the newest snapshot" in refused.err
    assert there["id"] == before[0].id
    assert done.treadle("gc", "--compact", "--yes").out.startswith("let go of 0 runs")


def test_what_fails_while_the_process_ends_is_not_told(tmp_path: Path) -> None:
    """Whoever reads only the beginning sees no warning of what was given up."""
    program = (
        "import logging\n"
        "from treadle.cli.screen import hush, unlogged\n"
        "with unlogged():\n"
        "    hush()\n"
        "logging.getLogger('treadle.runner').warning('late')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert ran.stderr == ""
