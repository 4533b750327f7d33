"""The whole of a simulated HubSpot, without HTTP: portal, limits, faults and what was received."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.simulator.portal.limits import AccountLimits
from airflow_provider_hubprefs.simulator.portal.portal import Portal
from airflow_provider_hubprefs.simulator.server.faults import FaultScript
from airflow_provider_hubprefs.simulator.server.recorder import Recorder

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator.portal.clock import SimulatedClock
    from airflow_provider_hubprefs.simulator.portal.settings import PortalSettings
    from airflow_provider_hubprefs.simulator.portal.tokens import AccessToken, PortalTokens


class SimulatorState:
    """Everything that the server, the control endpoint and a test in the same process look at.

    :param settings: the portal of the start; the other parameters are those of the simulator.
    """

    def __init__(
        self,
        settings: PortalSettings,
        *,
        seed: int,
        clock: SimulatedClock,
        latency_ms: float,
        record: int,
    ) -> None:
        self.clock = clock
        self.settings = settings
        self._seed = seed
        self._latency_ms = latency_ms
        self._record = record
        self.reset()

    def reset(self) -> None:
        """Begin anew with the portal of the start: no faults, nothing received, full limits, the time of the start."""
        self.clock.reset()
        self.load(self.settings)
        self.faults = FaultScript(seed=self._seed, latency_ms=self._latency_ms)
        self.recorder = Recorder(self._record)
        self._random = random.Random(self._seed)

    def load(self, settings: PortalSettings) -> None:
        """Take another portal; faults and what was received stay."""
        self.portal = Portal(settings, clock=self.clock, seed=self._seed)
        self.limits = AccountLimits(settings.limits)

    @property
    def tokens(self) -> PortalTokens:
        """The portal's tokens."""
        return self.portal.tokens

    @property
    def token(self) -> AccessToken:
        """The token with all scopes."""
        return self.tokens.by_name["all"]

    def correlation_id(self) -> str:
        """Return the next correlation id; the same seed gives the same ones."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def stats(self) -> dict[str, Any]:
        """Return the counts of requests, violations and peaks."""
        return {**self.recorder.stats(), "limits": self.limits.stats()}
