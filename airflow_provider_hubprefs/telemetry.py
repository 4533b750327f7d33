"""Metrics ``hubprefs.*`` and a span for each batch, where Airflow measures and traces.

======================================  =======  ==================================================================
metric                                  kind     meaning
======================================  =======  ==================================================================
``hubprefs.requests``                   counter  sent to HubSpot, with retries
``hubprefs.throttled``                  counter  answers with status 429
``hubprefs.rows.<outcome>``             counter  rows of bulk runs: changed, unchanged, rejected, invalid, ...
``hubprefs.run.duration``               timer    of a bulk run that has come to its end, over all its tries
``hubprefs.budget.remaining``           gauge    requests that the account has left today; not with OAuth
======================================  =======  ==================================================================

Each has the tag ``connection``. The span ``hubprefs.batch`` has ``hubprefs.rows`` and ``hubprefs.<outcome>``.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.compat import conf
from airflow_provider_hubprefs.hubspot.transport.observer import IGNORED, Observer

if TYPE_CHECKING:
    from collections.abc import Iterator

_SLOW = 0.5
"""Seconds: a backend that takes longer for one number would hold the run up."""
_log = logging.getLogger(__name__)
_BACKENDS = ("statsd_on", "statsd_datadog_enabled", "otel_on")


def observer_for(connection: str) -> Observer:
    """Return what passes numbers on to Airflow; where it neither measures nor traces, what ignores them.

    Call it in the task's own thread: spans of batches, which run in other threads, belong to the span that is current
    here. It may block, as it opens what metrics are sent by.

    :param connection: id of the Airflow connection.
    """
    stats = None
    if any(conf.getboolean("metrics", name, fallback=False) for name in _BACKENDS):
        from airflow_provider_hubprefs.compat import Stats

        with suppress(Exception):  # a run does not fail because it cannot be measured
            Stats.timer()  # resolves the name of the metrics' host now, and not in an event loop
            stats = Stats
    trace = sys.modules.get("opentelemetry.trace")
    traced = trace is not None and trace.get_current_span().is_recording()
    return _Airflow(connection, stats, trace if traced else None) if stats or traced else IGNORED


class _Airflow(Observer):
    """Passes everything on to Airflow.

    :param stats: Airflow's metrics; None: it measures nothing.
    :param trace: OpenTelemetry; None: it traces nothing.
    """

    def __init__(self, connection: str, stats: Any, trace: Any) -> None:
        self._tags = {"connection": connection}
        self._stats = stats
        self._trace = trace
        self._parent = sys.modules["opentelemetry.context"].get_current() if trace else None

    def count(self, name: str, amount: int = 1) -> None:
        """See :class:`Observer`."""
        self._send("incr", name, amount)

    def gauge(self, name: str, value: float) -> None:
        """See :class:`Observer`."""
        self._send("gauge", name, value)

    def lasted(self, name: str, seconds: float) -> None:
        """See :class:`Observer`."""
        self._send("timing", name, timedelta(seconds=seconds))

    def _send(self, kind: str, name: str, value: Any) -> None:
        if self._stats is None:
            return
        begin, why = monotonic(), "is slow"
        try:
            getattr(self._stats, kind)(f"hubprefs.{name}", value, tags=self._tags)
        except Exception as error:  # noqa: BLE001 - whatever a client of metrics raises
            why = f"failed ({type(error).__name__})"
        else:
            if monotonic() - begin < _SLOW:
                return
        self._stats = None
        _log.warning("Airflow's metrics get no more from this client of HubSpot: their backend %s", why)

    @contextmanager
    def span(self, name: str, **attributes: Any) -> Iterator[dict[str, Any]]:
        """See :class:`Observer`. An exception is named by its type alone."""
        result: dict[str, Any] = {}
        if self._trace is None:
            yield result
            return
        tracer = self._trace.get_tracer("airflow_provider_hubprefs")
        quiet = {"record_exception": False, "set_status_on_exception": False}
        with tracer.start_as_current_span(f"hubprefs.{name}", context=self._parent, **quiet) as span:
            try:
                yield result
            except BaseException as error:
                span.set_status(self._trace.StatusCode.ERROR, type(error).__name__)
                raise
            finally:
                named = {**self._tags, **attributes, **result}
                span.set_attributes({f"hubprefs.{key}": value for key, value in named.items()})
