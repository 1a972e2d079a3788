"""What senders are told, as bytes and back."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

import treadle as td
from treadle import errors
from treadle.codec import Codec
from treadle.runner import stimuli as say
from treadle.runner.ends import End, end_of, error_of
from treadle.runner.letters import came_of, read, refusal, reply_of, written
from treadle.runner.record import Options, Run


def run() -> Run:
    """A run that nobody works on."""
    return Run("a", td.workflow("w"), "key", Options(), 0.0)


def there_and_back(codec: Any, **told: Any) -> tuple[Any, Any]:
    """What a sender comes to know."""
    body = reply_of(run(), say.Told("m", **told), codec).body
    assert body is not None
    return came_of(codec, "a", body)


@pytest.mark.parametrize("codec", [Codec(), None], ids=["codec", "JSON"])
@pytest.mark.parametrize(
    "error",
    [
        errors.StepFailed("no.", component="c", input=3, attempt=2),
        errors.Overloaded("no.", hint="wait."),
        errors.ItemsFailed("no.", items=((0,),)),
        errors.RunEnded("no."),
        errors.Cancelled("no.", how="stopped"),
        errors.CodeChanged("no.", differences=("a",), hint="say what to do."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_as_its_kind_and_words(codec: Any, error: errors.TreadleError):
    """So that who catches it here catches it there."""
    found, told = there_and_back(codec, input=3, end=End({}, error))
    assert found == {}
    assert (type(told), str(told)) == (type(error), str(error))
    if isinstance(error, errors.StepFailed):
        assert (told.component, told.input, told.attempt) == ("c", 3, 2)
    assert str(came_of(codec, "a", refusal("m", error, codec).body or b"")[1]) == str(error)


def test_an_error_that_is_not_ours_is_told_in_words():
    """Its class may not be there at the sender."""
    _, told = there_and_back(Codec(), error=ZeroDivisionError("division by zero"))
    assert type(told) is errors.WorkError
    assert str(told) == "ZeroDivisionError: division by zero"


def test_an_input_that_is_open_has_a_number_and_no_body():
    """Its body comes later."""
    reply = reply_of(run(), say.Told("m", 7), Codec())
    assert (reply.message, reply.input, reply.body) == ("m", 7, None)


def test_how_an_input_ended():
    """Done, failed, cancelled, or out of time."""
    workflow = td.workflow("w").add(td.step(lambda x: 1 / x, name="inverse"))
    workflow = workflow.react_until_satisfied(4).react_until_satisfied(0)
    assert end_of(workflow, 0) == End({"inverse": 0.25})
    failed = end_of(workflow, 1)
    assert isinstance(error_of("a", 1, failed), errors.StepFailed)
    late, gone = end_of(workflow, 0, "deadline"), end_of(workflow, 0, "enough")
    assert isinstance(error_of("a", 0, late), errors.DeadlineExceeded)
    assert isinstance(error_of("a", 0, gone), errors.Cancelled)
    assert there_and_back(Codec(), input=0, end=end_of(workflow, 0)) == ({"inverse": 0.25}, None)


def test_results_that_cannot_be_stored_together_are_an_error():
    """Rather that than no answer at all."""
    _, told = there_and_back(Codec(), input=0, end=End({"f": print}))
    assert type(told) is errors.EncodeError


@dataclass
class Parcel:
    """A class that only one side knows."""

    weight: int


def test_a_class_that_is_not_known_here_is_named():
    """It is no damage."""
    knows = Codec(types=[Parcel])
    body = written(knows, {"results": {"pack": Parcel(3)}})
    assert came_of(knows, "a", body) == ({"pack": Parcel(3)}, None)
    _, told = came_of(Codec(), "a", body)
    assert type(told) is errors.UnknownType


@pytest.mark.parametrize(
    "stored",
    [b"", b"{", b"{}", b'{"error": 1}', b'{"error":"StepFailed","text":""}'],
)
def test_what_cannot_be_read_is_damage(stored: bytes):
    """Whatever it is."""
    found, told = came_of(Codec(), "a", stored)
    assert found == {}
    assert type(told) is errors.Corrupt
    assert "get_results(id)" in str(told)


def test_bodies_are_json_where_there_is_no_codec():
    """What JSON cannot hold is refused."""
    assert json.loads(written(None, {"value": [1, None]})) == {"value": [1, None]}
    assert read(None, b'{"value": 1}') == read(Codec(), b'{"value": 1}') == {"value": 1}
    with pytest.raises(errors.EncodeError, match="left for another runner"):
        written(None, {"value": print})
    with pytest.raises(errors.UsageError, match="no object with names"):
        read(None, b"[]")
