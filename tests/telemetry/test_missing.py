"""Where OpenTelemetry is not installed, or not asked for."""

import subprocess
import sys

import pytest

import treadle as td
from treadle.telemetry import OpenTelemetryObserver


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    """The module can be imported all the same."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with pytest.raises(td.errors.MissingExtra, match=r'pip install "treadle\[telemetry\]"'):
        OpenTelemetryObserver()


@pytest.mark.slow
def test_importing_treadle_does_not_import_opentelemetry():
    """Only whoever makes the observer pays for it."""
    code = (
        "import sys, treadle, treadle.telemetry\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "[]"
