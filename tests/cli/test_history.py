"""`ls`, `show`, `logs`, and what moves, copies, cuts and sweeps runs, on stores that nobody works with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import treadle as td
from tests.cli.calling import Call, environment
from tests.durability.places import looked_into
from tests.stores.postgres.server import Server
from treadle.cli.events import line_of
from treadle.model.events import Defined

RUN = ("run", "shop.py", "--inputs", "feed.jsonl", "--id", "X")


@pytest.fixture
def kept(folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch, url: str) -> Call:
    """The command, with a run X of three inputs in the store."""
    monkeypatch.setenv("TREADLE_STORE", url)
    (folder / "feed.jsonl").write_text("4\n7\n30\n", encoding="utf-8")
    assert call(*RUN).code == 0
    return call


def test_runs_are_listed_with_how_they_stand(kept: Call) -> None:
    """A line for each; newest last; chosen by status, workflow and number."""
    kept("run", "shop.py", "--input", "1", "--id", "Y")
    kept("cancel", "X", "--reason", "enough")
    lines = kept("ls").out.splitlines()

    assert lines[0].split() == ["id", "workflow", "status", "events", "changed", "with", "note"]
    assert [line.split("  ")[0] for line in lines[1:]] == ["X", "Y"]
    assert "cancelled" in lines[1]
    assert lines[1].endswith("enough")
    assert [each["id"] for each in kept("ls", "--status", "idle", "--json").objects] == ["Y"]
    assert [each["id"] for each in kept("ls", "--limit", "1", "--json").objects] == ["Y"]
    assert kept("ls", "--workflow", "another").out == "no runs\n"
    assert "Did you mean 'idle'?" in kept("ls", "--status", "idel").err


@pytest.mark.parametrize(
    "words",
    [
        *(("ls",), ("show", "X"), ("verify",), ("logs", "X"), ("waiting",), ("backup", "copy.db")),
        *(("export", "X", "--to", "X.run"), ("cancel", "X"), ("gc",), ("fork", "X")),
        ("resume", "X", "shop.py"),
    ],
)
def test_a_schema_that_is_not_there_is_not_made(
    call: Call, folder: Path, server: Server, words: tuple[str, ...]
) -> None:
    """A misspelt name is told of, and nothing is left behind."""
    called = call(*words, "--store", server.in_schema("nothere"))

    assert called.code == 2
    assert "there is no store in the schema 'nothere'" in called.err
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["shop.py"]
    with looked_into(server.in_schema("nothere")) as database:
        asked = database.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'nothere'")
        assert asked.fetchone() is None


def test_a_run_is_shown_as_it_ended(kept: Call) -> None:
    """The tree, the results and the failures are those that `run` showed."""
    ran = kept(*RUN).out.splitlines()
    shown = kept("show", "X").out.splitlines()

    assert shown[:3] == ["run       X", "workflow  the shop", "status    idle"]
    assert shown[shown.index("") + 1 : -1] == [
        line for line in ran[: len(ran) - 3] if "of work in" not in line
    ]
    assert shown[-1] == ran[-2] == "3 inputs: 2 with a result, 0 without a result, 1 failed"


def test_a_run_as_an_object_has_all_of_it(kept: Call) -> None:
    """Inputs with values, keys, results and failures; components with counts."""
    (data,) = kept("show", "X", "--json").objects
    first, second, _ = data["inputs"]

    assert (data["id"], data["workflow"], data["status"], data["trouble"]) == (
        "X",
        "the shop",
        "idle",
        None,
    )
    assert first["key"].startswith("line 1, ")
    assert first["results"] == {"describe": {"half": 2, "status": "small"}, "notice": "four"}
    assert (second["status"], second["ending"]) == ("failed", "failed")
    assert second["failures"][0]["where"] == "shop.py:7 in halve"
    assert {each["name"]: each["counts"]["done"] for each in data["components"]} == {
        "notice": 1,
        "halve": 2,
        "describe": 2,
    }


def test_a_log_is_printed_an_event_a_line(kept: Call) -> None:
    """From any position on; as objects, all fields are there."""
    lines = kept("logs", "X").out.splitlines()
    objects = kept("logs", "X", "--from", "1", "--json").objects

    assert lines[0].split() == ["0", "Defined", "the", "shop", "3", "components"]
    assert len(lines) == len(objects) + 1
    failed = next(each for each in objects if each["event"] == "Failed")
    assert failed["node"] == "halve"
    assert failed["error"]["type"] == "ZeroDivisionError"
    (line,) = [line for line in lines if " Failed " in line]
    assert "halve  input 1  ZeroDivisionError: " in line


def test_hostile_values_do_not_steer_the_terminal(kept: Call, folder: Path) -> None:
    """Escapes are shown as such, in values, names, reasons and ids."""
    (folder / "own.py").write_text(
        "import treadle as td\nw = td.workflow('w', steps=[td.step(lambda n: n, name='s')])\n",
        encoding="utf-8",
    )
    kept("run", "own.py", "--input", '"\\u001b[31m"', "--id", "H")
    kept("cancel", "H", "--reason", "\x1b]0;title\x07")
    told = [kept(*words).out for words in (("ls",), ("show", "H"), ("logs", "H"))]

    assert all("\x1b" not in text and "\x07" not in text for text in told)
    assert "\\u001b[31m" in told[1]
    assert "\\x1b]0;title\\x07" in told[0]
    assert "\x1b" not in kept("show", "\x1b[2J").err


def test_classes_that_only_the_program_knows_are_stood_in_for(kept: Call, folder: Path) -> None:
    """What can be shown is; and what was stored stays as it was through export, import and fork."""
    (folder / "own.py").write_text(
        "import treadle as td\n"
        "class Pair:\n"
        "    def __init__(self, n): self.n = n\n"
        "    def __eq__(self, other): return vars(self) == vars(other)\n"
        "def pair(n): return Pair(n)\n"
        "def double(p: Pair): return p.n * 2\n"
        "w = td.workflow('w', steps=[(pair, [double])])\n",
        encoding="utf-8",
    )
    kept("run", "own.py", "--input", "21", "--id", "P")
    assert "<not registered: own:Pair>" in kept("logs", "P").out
    assert kept("show", "P", "--json").objects[0]["inputs"][0]["results"] == {"double": 42}
    assert kept("verify").code == 0
    assert kept("export", "P", "--to", "P.run").code == 0
    assert kept("import", "P.run", "--id", "Q").code == 0
    assert kept("import", "P.run", "--store", "new.db").code == 0
    assert kept("show", "P", "--store", "new.db").code == 0
    assert kept("fork", "Q", "--id", "R", "--at", "3").code == 0
    del sys.modules[
        "own"
    ]  # as in a process of its own: there its classes have the same names again
    resumed = kept("resume", "R", "own.py", "--json")

    assert resumed.code == 0
    assert resumed.objects[0]["results"] == {"double": 42}


def test_a_fork_is_what_a_run_was(kept: Call) -> None:
    """Cut in the middle, it has less, keys of its own, and goes on from there; the run it is of stays."""
    whole = kept("logs", "X", "--json").objects
    first = next(each["position"] for each in whole if each["event"] == "Applied") + 1
    called = kept("fork", "X", "--at", str(first), "--id", "F", "--json")
    cut = kept("logs", "F", "--json").objects
    called_again = kept("resume", "F", "shop.py", "--json")

    assert called.objects == [{"run": "F", "events": first, "status": "stopped"}]
    assert cut[1:] == whole[1:first]
    assert cut[0]["run_key"] != whole[0]["run_key"]
    accepted = sum(each["event"] == "InputAccepted" for each in cut)
    assert called_again.objects[-1]["inputs"] == accepted
    assert kept("logs", "X", "--json").objects == whole
    assert kept("verify").code == 0


def test_damage_is_found(kept: Call, url: str) -> None:
    """A changed byte is a finding, and the exit code says so; the other runs are as they were."""
    kept("run", "shop.py", "--input", "1", "--id", "Y")
    longer = "CAST(body || x'00' AS BLOB)" if url.startswith("sqlite") else "body || 'x'::bytea"
    with looked_into(url) as connection, connection:
        connection.execute(
            f"UPDATE event SET body = {longer} WHERE position = 3 "
            "AND run = (SELECT pk FROM run WHERE id = 'X')"
        )
    called = kept("verify")

    assert called.code == 1
    assert "the log of 'X' is damaged at position 3" in called.out
    assert called.out.splitlines()[-1] == "1 findings in 2 runs"
    assert kept("verify", "Y").code == 0
    findings = kept("verify", "--json").objects
    assert [each["type"] for each in findings] == ["finding", "summary"]
    shown = kept("show", "X")
    assert shown.code == 0
    assert "damaged at position 3" in shown.err


def test_what_is_finished_for_long_is_forgotten(kept: Call) -> None:
    """Only what the option says; a run that was stopped in the middle stays."""
    kept("fork", "X", "--at", "3", "--id", "stopped")
    assert kept("gc").out == "let go of 0 runs, 0 events, 0 large values\n"
    assert kept("gc", "--finished-for", "1d", "--json").objects[0]["forgotten"]["runs"] == 0
    assert kept("gc", "--finished-for", "0s").out.startswith("let go of 1 run,")
    assert [each["id"] for each in kept("ls", "--json").objects] == ["stopped"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "Y"), "there is no run 'Y'. Known: 'X'."),
        (("logs", "x"), "there is no run 'x'."),
        (("cancel", "Y"), "there is no run 'Y'"),
        (("signal", "Y", "go"), "there is no run 'Y'"),
        (("signal", "X", "go", "{"), "the payload '{' is not JSON"),
        (("signal", "X", "go"), "'the shop' has no wait_for named 'go'"),
        (("answer", "X"), "nothing waits in the run 'X'"),
        (("answer", "Y"), "there is no run 'Y'"),
        (("gc", "--compact"), "--compact loses what finished inputs came to"),
        (("verify", "Y"), "there is no run 'Y'"),
        (("export", "Y", "--to", "f"), "there is no run 'Y'"),
        (("export", "X", "--to", "shop.py"), "'shop.py' is there already"),
        (("export", "X", "--to", "gone/f"), "'gone/f' cannot be written"),
        (("import", "gone"), "'gone' cannot be read"),
        (("import", "shop.py"), "this is no exported run"),
        (("fork", "X", "--at", "999"), "the run 'X' has no position 999"),
        (("fork", "X", "--id", "X"), "there is a run 'X' already"),
        (("gc", "--finished-for", "long"), "'long' is no duration"),
        (("backup", "shop.py"), "shop.py is there already"),
        (("backup", "gone/f"), "the folder of 'gone/f' is not there"),
        (("import", "whole.db", "--id", "Y"), "--id is for one run, and 'whole.db' is a whole"),
        (("import", "whole.db"), "holds runs already, and a whole store is put into an empty one"),
        (("resume", "X"), "which run is to go on"),
        (("resume", "Y", "shop.py"), "there is no run 'Y'"),
        (("ls", "--store", "gone.db"), "there is no store 'gone.db'"),
        (("ls", "--store", "memory"), "ends with its process"),
        (("ls", "--store", "shop.py"), "file is not a database"),
        (("run", "shop.py", "--input", "1", "--store", "gone/x.db"), "gone is not there"),
        (("run", "shop.py", "--input", "1", "--id", "a\nb"), "printable characters"),
    ],
)
def test_mistakes_are_told_in_one_line(kept: Call, words: tuple[str, ...], said: str) -> None:
    """What is wrong, and what there is; exit code 2, nothing on stdout."""
    if "whole.db" in words:
        assert kept("backup", "whole.db").code == 0
    called = kept(*words)

    assert called.code == 2
    assert said in called.err
    assert called.out == ""
    assert called.err.startswith("treadle: ")
    assert called.err.count("\n") == 1


def test_a_run_of_another_workflow_is_not_gone_on_with(kept: Call, folder: Path) -> None:
    """The file is the wrong one, and nothing is run."""
    text = "import treadle as td\nw = td.workflow('w', steps=[td.step(lambda n: n, name='s')])\n"
    (folder / "own.py").write_text(text, encoding="utf-8")
    called = kept("run", "own.py", "--input", "1", "--id", "X")

    assert called.code == 2
    assert "the run 'X' is of the workflow 'the shop', and the file holds 'w'" in called.err


def test_what_no_store_can_keep_is_said_with_the_way_out(kept: Call, folder: Path) -> None:
    """A value of an unknown class is a failure of its step; `codec` in the file lets it be stored."""
    text = (
        "import treadle as td\n"
        "class Odd: ...\n"
        "w = td.workflow('w', steps=[td.step(lambda n: Odd(), name='s')])\n"
    )
    (folder / "own.py").write_text(text, encoding="utf-8")
    called = kept("run", "own.py", "--input", "1")
    assert "EncodeError: value is an own.Odd, which is not registered" in called.out
    assert "--ephemeral" in called.out.splitlines()[-2]
    (folder / "other.py").write_text(
        f"{text}from treadle.codec import Codec\ncodec = Codec(types=[Odd])\n", encoding="utf-8"
    )
    assert kept("run", "other.py", "--input", "1", "--json").objects[0]["ending"] == "result"


def test_a_signal_waits_for_who_runs_the_run_next(kept: Call, url: str) -> None:
    """It is stored, and the answer says that nobody took it yet."""
    with td.Runner(store=url) as runner:
        runner.run(runner.start(td.workflow("w").add(td.wait_for("approval", key="k")), "W"), 1)
    sent = ("signal", "W", "approval", '{"by": "me"}', "--key", "k")
    called = kept(*sent, "--json")

    told = {"run": "W", "stored": True, "taken": False, "refused": None}
    assert (called.code, called.objects) == (0, [told])
    assert "is left in the inbox for who runs it next" in kept(*sent).out


def test_cancelling_twice_is_a_mistake(kept: Call) -> None:
    """The second is told what came of the first."""
    assert kept("cancel", "X", "--reason", "enough").out == "X: the cancellation was taken\n"
    called = kept("cancel", "X")

    assert called.code == 2
    assert "the run 'X' was cancelled (enough), which is for good" in called.err


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_store_that_nobody_may_write_to_is_read(kept: Call, folder: Path) -> None:
    """Neither file nor folder need be writable, and nothing is left beside it."""
    place = folder / "frozen"
    place.mkdir()
    (place / "runs.db").write_bytes((folder / "runs.db").read_bytes())
    (place / "runs.db").chmod(0o444)
    place.chmod(0o555)
    for above in (folder, *folder.parents[:2]):  # who is not root is to get there
        if above.stat().st_uid == os.geteuid():
            above.chmod(above.stat().st_mode | 0o055)
    code = (
        "import os\n"
        "from treadle.codec import Codec\n"
        "from treadle.stores.sqlite import SqliteStore\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "store = SqliteStore('frozen/runs.db', Codec(), read_only=True)\n"
        "print([info.id for info in store.list()], len(store.load_all('X').events))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    place.chmod(0o755)

    assert ran.stderr == ""
    assert ran.stdout.startswith("['X'] ")
    assert [path.name for path in place.iterdir()] == ["runs.db"]


def test_an_event_of_a_component_is_told_by_its_name() -> None:
    """What was added or removed under way is in the line."""
    workflow = td.workflow("w", steps=[td.step(lambda n: n, name="s")]).react_until_satisfied(1)
    workflow = workflow.add(td.step(lambda n: n, name="t"), to="s").remove("t")
    lines = [line_of(event) for event in workflow.log()]

    assert isinstance(workflow.log()[0], Defined)
    assert lines[-2].split() == [lines[-2].split()[0], "ComponentAdded", "t"]
    assert lines[-1].split()[1:] == ["ComponentRemoved", "t"]
