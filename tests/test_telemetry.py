"""What Airflow's metrics and OpenTelemetry's traces hear of a run, through Airflow's own senders."""

from __future__ import annotations

import asyncio
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk._shared.observability.metrics.otel_logger import SafeOtelLogger
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from airflow_provider_hubprefs.exceptions import HubPrefsFailException
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.transport.observer import IGNORED
from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from tests.helpers import people, reported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_hubprefs.simulator import Simulator

pytestmark = pytest.mark.usefixtures("hubprefs_default")
BACKENDS = ("STATSD_ON", "STATSD_DATADOG_ENABLED", "OTEL_ON")


@pytest.fixture(autouse=True)
def airflow_s_metrics() -> Iterator[None]:
    """Airflow measures nothing before and after."""
    yield
    with pytest.MonkeyPatch.context() as patch:
        for name in BACKENDS:
            patch.setenv(f"AIRFLOW__METRICS__{name}", "False")
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, list[Any]]]:
    """Have Airflow measure with OpenTelemetry; what it has measured: values and tags by name."""
    reader = InMemoryMetricReader()
    monkeypatch.setenv("AIRFLOW__METRICS__OTEL_ON", "True")
    provider = MeterProvider([reader])
    factory: Any = partial(SafeOtelLogger, provider)
    stats.initialize(factory=factory, export_legacy_names=False)

    def read() -> dict[str, list[Any]]:
        found = reader.get_metrics_data()
        return {
            metric.name.removeprefix("airflow."): [
                (getattr(point, "value", None) or getattr(point, "sum", 0), dict(point.attributes or {}))
                for point in metric.data.data_points
            ]
            for resource in (found.resource_metrics if found else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    return read


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Have OpenTelemetry trace, as Airflow sets it up for a task."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


def opt_out(context: Any, subscribers: list[str], **arguments: Any) -> Any:
    operator = HubPrefsBatchUnsubscribeOperator(task_id="opt_out", subscribers=subscribers, **arguments)
    return operator.execute(context)


class TestMetrics:
    def test_a_run_is_measured_by_requests_outcomes_duration_and_budget(
        self, measured: Callable[[], dict[str, list[Any]]], context: Any, tmp_path: Path
    ) -> None:
        subscribers = [*people(25), "no address", people(1)[0]]
        result = reported(
            opt_out(context, subscribers, batch_size=10, on_rejected="report", output=str(tmp_path))
        )
        found = measured()
        tags = {"connection": "hubprefs_default"}
        assert found["hubprefs.requests"] == [(result["requests"], tags)]
        assert found["hubprefs.rows.changed"] == [(25, tags)]
        assert found["hubprefs.rows.invalid"] == [(1, tags)]
        assert found["hubprefs.rows.duplicate"] == [(1, tags)]
        assert "hubprefs.rows.rejected" not in found
        ((milliseconds, its_tags),) = found["hubprefs.run.duration"]
        assert milliseconds == pytest.approx(result["duration_seconds"] * 1000, rel=0.01)
        assert its_tags == tags
        assert found["hubprefs.budget.remaining"] == [(result["budget_after"]["daily_remaining"], tags)]

    def test_pending_rows_are_counted_once_they_have_an_outcome(
        self, measured: Callable[[], dict[str, list[Any]]], context: Any, hubspot: Simulator
    ) -> None:
        hubspot.load({"operations": {"seconds": 0.3}})
        opt_out(context, people(3), poke_interval=0.1)
        rows = {name: points for name, points in measured().items() if ".rows." in name}
        assert rows == {"hubprefs.rows.changed": [(3, {"connection": "hubprefs_default"})]}

    def test_a_429_is_counted(self, measured: Callable[[], dict[str, list[Any]]], hubspot: Simulator) -> None:
        hubspot.fault("burst", retry_after=0.01)
        HubPrefsHook().get_definitions()
        found = measured()
        assert found["hubprefs.throttled"][0][0] == 1
        assert found["hubprefs.requests"][0][0] == 2

    def test_the_triggerer_s_client_is_measured_as_well(
        self, measured: Callable[[], dict[str, list[Any]]]
    ) -> None:
        async def ask() -> None:
            async with await HubPrefsHook().aget_client() as client:
                await client.asend(client.calls.get_definitions())

        asyncio.run(ask())
        assert measured()["hubprefs.requests"] == [(1, {"connection": "hubprefs_default"})]

    def test_statsd_receives_them(self, monkeypatch: pytest.MonkeyPatch, context: Any) -> None:
        pytest.importorskip("statsd", reason="Airflow's client of StatsD is an extra of its own")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(2)
            monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
            monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "127.0.0.1")
            monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(server.getsockname()[1]))
            stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
            opt_out(context, people(3))
            received: list[str] = []
            while not any("run.duration" in line for line in received):
                received.append(server.recv(1000).decode())
        assert "airflow.hubprefs.requests:1|c" in received
        assert "airflow.hubprefs.rows.changed:3|c" in received
        assert [line for line in received if "person" in line or "example.com" in line] == []

    @pytest.mark.parametrize("fault", ["raises", "blocks", "cannot begin"])
    def test_a_backend_that_fails_or_is_slow_holds_no_run_up(
        self, monkeypatch: pytest.MonkeyPatch, context: Any, caplog: pytest.LogCaptureFixture, fault: str
    ) -> None:
        class Backend:
            calls = 0

            def timer(self) -> None:
                if fault == "cannot begin":
                    raise OSError("no such host")

            def incr(self, *_: Any, **__: Any) -> None:
                Backend.calls += 1
                if fault == "raises":
                    raise ConnectionError("secret.person@example.com")
                time.sleep(0.2)

            gauge = timing = incr

        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        monkeypatch.setattr("airflow_provider_hubprefs.telemetry._SLOW", 0.1)
        monkeypatch.setattr("airflow_provider_hubprefs.compat.Stats", Backend(), raising=False)
        assert opt_out(context, people(25), batch_size=5)["changed"] == 25
        assert Backend.calls <= (0 if fault == "cannot begin" else 8)  # one for each thread at most
        assert ("get no more" in caplog.text) == (fault != "cannot begin")
        assert "secret" not in caplog.text

    def test_where_airflow_measures_nothing_no_one_is_told(self) -> None:
        assert HubPrefsHook().client.observer is IGNORED


class TestSpans:
    def test_a_batch_is_a_span_of_its_task_s_without_an_address(
        self, spans: InMemorySpanExporter, context: Any
    ) -> None:
        with trace.get_tracer("airflow").start_as_current_span("worker.opt_out") as task:
            opt_out(context, [*people(15), people(1)[0]], batch_size=10)
        found = [span for span in spans.get_finished_spans() if span.name == "hubprefs.batch"]
        assert [span.parent and span.parent.span_id for span in found] == [
            task.get_span_context().span_id
        ] * 2
        attributes = sorted((dict(span.attributes or {}) for span in found), key=str)
        connection = {"hubprefs.connection": "hubprefs_default"}
        assert attributes == [
            {**connection, "hubprefs.rows": 10, "hubprefs.changed": 10},
            {**connection, "hubprefs.rows": 6, "hubprefs.changed": 5, "hubprefs.duplicate": 1},
        ]
        assert "example.com" not in "".join(span.to_json() for span in spans.get_finished_spans())

    def test_a_batch_that_fails_names_the_kind_of_error_alone(
        self, spans: InMemorySpanExporter, context: Any, hubspot: Simulator
    ) -> None:
        hubspot.fault("status", status=401, times=None)
        with (
            trace.get_tracer("airflow").start_as_current_span("worker.opt_out"),
            pytest.raises(HubPrefsFailException),
        ):
            opt_out(context, people(3))
        (span,) = [span for span in spans.get_finished_spans() if span.name == "hubprefs.batch"]
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "AuthenticationError"
        assert span.events == ()

    def test_requests_make_no_spans(self, spans: InMemorySpanExporter, context: Any) -> None:
        with trace.get_tracer("airflow").start_as_current_span("worker.opt_out"):
            opt_out(context, people(3))
        assert {span.name for span in spans.get_finished_spans()} == {"worker.opt_out", "hubprefs.batch"}

    def test_where_airflow_does_not_trace_there_are_none(
        self, spans: InMemorySpanExporter, context: Any
    ) -> None:
        opt_out(context, people(3))
        assert spans.get_finished_spans() == ()
