"""The whole of a simulated HubSpot, without HTTP: portal, tokens, limits, faults and what was received."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.simulator.clock import Clock
from airflow_provider_hubprefs.simulator.faults import Faults
from airflow_provider_hubprefs.simulator.limits import Limits
from airflow_provider_hubprefs.simulator.oauth import Token, Tokens
from airflow_provider_hubprefs.simulator.portal import Portal
from airflow_provider_hubprefs.simulator.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class State:
    """Everything the server, the control endpoint and a test in the same process look at.

    :param document: the portal, see :mod:`settings`.
    :param record: how many of the last requests are kept.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        *,
        seed: int = 0,
        clock: Clock | None = None,
        fault_rate: float = 0.0,
        fault_kinds: Iterable[str] = (),
        latency_ms: float = 0.0,
        record: int = 10_000,
    ) -> None:
        self.seed = seed
        self.clock = clock or Clock()
        self._document = dict(document)
        self._chance: dict[str, Any] = {
            "rate": fault_rate,
            "kinds": tuple(fault_kinds),
            "latency_ms": latency_ms,
        }
        self._record = record
        self.reset()

    def reset(self) -> None:
        """Begin anew with the portal it was started with: no scripted faults, nothing received, full limits."""
        self.load(self._document)
        self.faults = Faults(seed=self.seed, **self._chance)
        self.recorder = Recorder(maximum=self._record)
        self._random = random.Random(self.seed)

    def load(self, document: Mapping[str, Any]) -> None:
        """Take another portal; scripted faults and what was received stay.

        :raises PortalError: when it is not a portal; the one before stays.
        """
        portal = Portal(document, clock=self.clock, seed=self.seed)
        tokens = Tokens(portal.settings, self.clock, self.seed)
        self.portal, self.tokens, self.limits = portal, tokens, Limits(portal.settings)

    @property
    def token(self) -> Token:
        """The token with all scopes."""
        return self.tokens.by_name["all"]

    @property
    def subscription_ids(self) -> list[int]:
        """The numbers of the active definitions."""
        return [each.number for each in self.portal.active]

    def correlation_id(self) -> str:
        """Return the next correlation id; the same seed gives the same ones."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def stats(self) -> dict[str, Any]:
        """Return the counts of requests, violations and peaks."""
        return {**self.recorder.stats(), "limits": self.limits.stats()}
