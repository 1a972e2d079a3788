"""Observers that tell the outside what happens in a runner: Python's logging, and OpenTelemetry."""

from treadle.telemetry.logs import LogObserver
from treadle.telemetry.otel import OpenTelemetryObserver

__all__ = ["LogObserver", "OpenTelemetryObserver"]
