"""What the tests of OpenTelemetry share: an SDK that keeps all in memory."""

from typing import Any

import pytest

from treadle.telemetry import OpenTelemetryObserver

REASON = "the OpenTelemetry SDK is not installed"
pytest.importorskip("opentelemetry.sdk", reason=REASON)

from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402 - the SDK may be missing
from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)

PATIENCE_S = 20


class Recording:
    """An observer, and all that it has told."""

    def __init__(self, tracers: TracerProvider | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = tracers or TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.observer = OpenTelemetryObserver(self.tracers, self.meters)

    def close(self) -> None:
        """Let go of what the SDK holds."""
        self.tracers.shutdown()
        self.meters.shutdown()

    def spans(self, name: str = "", **attributes: Any) -> list[ReadableSpan]:
        """The spans whose name begins so and which have these attributes, oldest first."""
        wanted = {f"treadle.{key}": value for key, value in attributes.items()}
        return [
            span
            for span in self.exporter.get_finished_spans()
            if span.name.startswith(name) and wanted.items() <= dict(span.attributes or {}).items()
        ]

    def span(self, name: str, **attributes: Any) -> ReadableSpan:
        """The only such span."""
        (span,) = self.spans(name, **attributes)
        return span

    def metrics(self) -> dict[str, dict[tuple[Any, ...], Any]]:
        """By metric and label values: the value of a counter, or of a histogram how much it has counted."""
        found: dict[str, dict[tuple[Any, ...], Any]] = {}
        data = self.reader.get_metrics_data()
        for resource in [] if data is None else data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = {
                        tuple((point.attributes or {}).values()): getattr(
                            point, "value", getattr(point, "count", None)
                        )
                        for point in metric.data.data_points
                    }
        return found

    def labels(self) -> set[str]:
        """The names of all labels of all metrics."""
        data = self.reader.get_metrics_data()
        return {
            str(label)
            for resource in ([] if data is None else data.resource_metrics)
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
            for label in point.attributes or {}
        }
