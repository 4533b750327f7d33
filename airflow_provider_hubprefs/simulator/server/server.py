"""The simulator as a running server: in a thread for tests, or for as long as a process lives."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self

try:
    import uvicorn

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
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import FrameType

    from airflow_provider_hubprefs.simulator.portal.portal import Portal
    from airflow_provider_hubprefs.simulator.server.recorder import RecordedRequest


class _QuickServer(uvicorn.Server):
    """Ends at once. uvicorn's own waits 0.1 s for its turn, and again for clients to close connections."""

    _wake: Callable[[], object] | None = None

    def end(self) -> None:
        """End serving; any thread may call this."""
        self.should_exit = True
        if self._wake is not None:
            self._wake()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.end()

    async def main_loop(self) -> None:
        ended = asyncio.Event()
        self._wake = partial(asyncio.get_running_loop().call_soon_threadsafe, ended.set)
        if not self.should_exit:
            await ended.wait()
        self._wake = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class Simulator:
    """A local HubSpot in this process, from ``with`` to the end of the block.

    :param portal: a portal document, or a JSON file with one (see :mod:`~.portal.settings`); a realistic one if None.
    :param seed: makes tokens, correlation ids and the order of results the same each time.
    :param clock: where the time comes from, in seconds; ``advance()`` moves it on.
    :param latency_ms: how long every answer takes at least.
    :param record: how many of the last requests are kept.
    :raises msgspec.MsgspecError: when the portal cannot be loaded.
    """

    def __init__(
        self,
        *,
        portal: Mapping[str, Any] | Path | str | None = None,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
        latency_ms: float = 0.0,
        record: int = 10_000,
    ) -> None:
        self.state = SimulatorState(
            read_settings(portal),
            seed=seed,
            clock=SimulatedClock(clock),
            latency_ms=latency_ms,
            record=record,
        )
        self._host, self._port = host, port
        self._listener: socket.socket | None = None
        self._server: _QuickServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def listen(self) -> None:
        """Accept connections; they are served by :meth:`serve`.

        :raises OSError: when the port is taken.
        """
        if self._server is not None:
            raise RuntimeError("the simulator is running already")
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = socket.create_server((self._host, self._port), family=family, backlog=2048)
        config = uvicorn.Config(
            SimulatorApp(self.state),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
        )
        self._server = _QuickServer(config)

    def serve(self) -> None:
        """Serve until :meth:`stop`, or until a signal ends the process."""
        if self._server is not None and self._listener is not None:
            self._server.run(sockets=[self._listener])

    def start(self) -> None:
        """Serve from a thread; connections are accepted from now on.

        :raises OSError: when the port is taken.
        """
        self.listen()
        self._thread = threading.Thread(target=self.serve, name="hubspot-simulator", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End serving, and all connections; what was received can still be looked at."""
        if self._server is not None:
            self._server.end()
        if self._thread is not None:
            self._thread.join()
            self._thread = self._server = self._listener = None

    # What a test needs to know ----------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it serves, such as ``http://127.0.0.1:41234``."""
        if self._listener is None:
            raise RuntimeError("the simulator is not running: use `with Simulator() as hubspot:`")
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

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
        return [each.number for each in self.portal.active]

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
        :raises msgspec.ValidationError: when one of them is not known.
        """
        times = {"times": more.pop("times")} if "times" in more else {}
        self.state.faults.add({"match": match or {}, "fault": {"kind": kind, **more}, **times})

    def clear_faults(self) -> None:
        """Forget the scripted faults."""
        self.state.faults.clear()

    def load(self, portal: Mapping[str, Any] | Path | str) -> None:
        """Take another portal.

        :raises msgspec.MsgspecError: when it cannot be loaded.
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
