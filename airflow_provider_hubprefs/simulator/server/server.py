"""The simulator as a running server: in a thread for tests, or for as long as a process lives."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self

try:
    import uvicorn
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    from airflow_provider_hubprefs.simulator.server.app import SimulatorApp
except ModuleNotFoundError as error:  # pragma: no cover - the development environment has both
    raise ModuleNotFoundError(
        f"the simulator needs {error.name}: pip install 'airflow-provider-hubprefs[simulator]'",
        name=error.name,
    ) from error

from airflow_provider_hubprefs.simulator.portal.clock import SimulatedClock
from airflow_provider_hubprefs.simulator.portal.settings import read_settings
from airflow_provider_hubprefs.simulator.server.state import SimulatorState

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from airflow_provider_hubprefs.simulator.portal.portal import Portal
    from airflow_provider_hubprefs.simulator.server.recorder import RecordedRequest

_STARTS_WITHIN = 30.0


def make_server(state: SimulatorState) -> uvicorn.Server:
    """Return a server whose application can cut its connections."""
    app = SimulatorApp(state)

    class Protocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # h11's or httptools', by what is there
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override,unused-ignore]
            self.peer = transport.get_extra_info("peername")[:2]
            app.transports[self.peer] = transport
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            app.transports.pop(self.peer, None)
            super().connection_lost(exc)

    config = uvicorn.Config(
        app,
        http=Protocol,
        lifespan="off",
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        # A client that keeps its connection open must not keep the simulator alive.
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, on a free port when it is 0.

    :raises OSError: when the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def url_of(listener: socket.socket) -> str:
    """Return the address clients use for a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Simulator:
    """A local HubSpot in this process, from ``with`` to the end of the block.

    :param portal: a portal document, or a JSON file with one (see :mod:`~.portal.settings`); a realistic one if None.
    :param seed: makes tokens, correlation ids and the order of results the same each time.
    :param clock: where the time comes from, in seconds; ``advance()`` moves it on.
    :param latency_ms: how long every answer takes at least.
    :param record: how many of the last requests are kept.
    :raises PortalError: when the portal cannot be loaded.
    """

    def __init__(
        self,
        *,
        portal: Mapping[str, Any] | Path | str | None = None,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] | None = None,
        latency_ms: float = 0.0,
        record: int = 10_000,
    ) -> None:
        self.state = SimulatorState(
            read_settings(portal),
            seed=seed,
            clock=SimulatedClock(clock) if clock else SimulatedClock(),
            latency_ms=latency_ms,
            record=record,
        )
        self._host, self._port = host, port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serve from a thread; returns when connections are accepted.

        :raises OSError: when the port is taken.
        """
        if self._thread is not None:
            raise RuntimeError("the simulator is running already")
        self._listener = listen(self._host, self._port)
        server = self._server = make_server(self.state)
        self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [self._listener]}, name="hubspot-simulator", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _STARTS_WITHIN
        while not server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the simulator did not start")
            time.sleep(0.002)

    def stop(self) -> None:
        """End serving; what was received can still be looked at."""
        if self._server is None or self._thread is None or self._listener is None:
            return
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
        self._server = self._thread = None

    # What a test needs to know ----------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it serves, such as ``http://127.0.0.1:41234``."""
        if self._listener is None or self._thread is None:
            raise RuntimeError("the simulator is not running: use `with Simulator() as hubspot:`")
        return url_of(self._listener)

    @property
    def token(self) -> str:
        """A token with all scopes."""
        return self.state.token.value

    @property
    def tokens(self) -> dict[str, str]:
        """All tokens by name: ``all``, ``starter``, ``read_only``, ``expired`` and the portal's own."""
        return {name: token.value for name, token in self.state.tokens.by_name.items()}

    @property
    def subscription_ids(self) -> list[int]:
        """The numbers of the active definitions."""
        return self.state.subscription_ids

    @property
    def portal(self) -> Portal:
        """The account itself: preferences and rules."""
        return self.state.portal

    @property
    def requests(self) -> list[RecordedRequest]:
        """The last requests, oldest first."""
        return list(self.state.recorder.kept)

    @property
    def stats(self) -> dict[str, Any]:
        """Counts per endpoint and status, 429s, and the most requests in any window."""
        return self.state.stats()

    def status_of(self, address: str, subscription_id: int) -> str:
        """Return a subscriber's status for a subscription.

        :raises KeyError: when the portal has no such subscription.
        """
        return self.portal.status(address.lower(), self.portal.definitions[subscription_id])

    def is_opted_out(self, address: str, brand: int | None = None) -> bool:
        """Return whether a subscriber has opted out of the whole portal, or of a brand."""
        opt_outs = self.portal.opt_outs(address.lower())
        return None in opt_outs or (brand is not None and brand in opt_outs)

    # What a test does to it -------------------------------------------------------------------------

    def fault(self, kind: str, *, match: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Script a fault: ``fault("status", status=503, match={"endpoint": "batch_write"}, times=2)``.

        :param match: which requests it strikes; all when absent.
        :param more: ``times`` (1; ``None``: for ever), and the members of the fault (see :mod:`~.server.faults`).
        :raises FaultError: when one of them is not known.
        """
        times = {"times": more.pop("times")} if "times" in more else {}
        self.state.faults.add({"match": match or {}, "fault": {"kind": kind, **more}, **times})

    def clear_faults(self) -> None:
        """Forget the scripted faults."""
        self.state.faults.clear()

    def load(self, portal: Mapping[str, Any] | Path | str) -> None:
        """Take another portal.

        :raises PortalError: when it cannot be loaded.
        """
        self.state.load(read_settings(portal))

    def reset(self) -> None:
        """Begin anew with the portal of the start."""
        self.state.reset()

    def opt_out(self, *addresses: str) -> None:
        """Opt subscribers out, as they do themselves by a link: all at the same moment."""
        self.portal.opt_out(addresses)

    def advance(self, seconds: float) -> None:
        """Move the simulated time forward."""
        self.state.clock.advance(seconds)
