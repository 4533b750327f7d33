"""The CRM's contacts: one for every subscriber, with all it ever was.

``hs_email_optout`` follows the portal-wide opt-out, and every change of a subscriber is a change of the contact.
A search sees a change when ``indexing_seconds`` of the portal have passed; reading by id sees it at once.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_hubprefs.simulator.portal.settings import drawn_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.simulator.portal.clock import SimulatedClock
    from airflow_provider_hubprefs.simulator.portal.history import PreferenceChange
    from airflow_provider_hubprefs.simulator.portal.settings import PortalSettings

FIRST_ID = 1001


class ContactVersion(NamedTuple):
    """A contact as it was from a time on.

    :param at: in milliseconds since 1970.
    :param opted_out: ``hs_email_optout``; ``None`` where it was never set.
    :param source: what changed it.
    :param indexed_at: when searches see it, in milliseconds since 1970.
    """

    at: int
    opted_out: bool | None
    indexed_at: int
    source: str = ""


@dataclass(slots=True)
class PortalContact:
    """One contact.

    :ivar touched: when something else of it was changed, in milliseconds since 1970.
    """

    id: int
    email: str
    history: Sequence[PreferenceChange] = ()
    touched: list[int] = field(default_factory=list)
    versions: list[ContactVersion] = field(default_factory=list)

    def indexed(self, now: int) -> ContactVersion | None:
        """Return what searches see of it at a time in milliseconds; ``None`` where that is nothing."""
        return next((version for version in reversed(self.versions) if version.indexed_at <= now), None)


class PortalContacts:
    """The portal's contacts, in the order of their ids.

    :param seed: draws how long the index takes for a change.
    """

    def __init__(self, clock: SimulatedClock, seed: int, settings: PortalSettings) -> None:
        self._clock = clock
        self._seed = seed
        self._settings = settings
        self._by_address: dict[str, PortalContact] = {}
        self._numbered: list[PortalContact] = []

    def above(self, number: int) -> list[PortalContact]:
        """Return the contacts with a larger id, in the order of their ids."""
        return self._numbered[max(0, number + 1 - FIRST_ID) :]

    def by_id(self, name: str) -> PortalContact | None:
        """Return a contact by its id as text."""
        place = int(name) - FIRST_ID if name.isdigit() else -1
        return self._numbered[place] if 0 <= place < len(self._numbered) else None

    def changed(self, key: str, history: Sequence[PreferenceChange]) -> None:
        """Take over a subscriber's history, which has grown."""
        contact = self._by_address.get(key)
        if contact is None:
            contact = self._by_address[key] = PortalContact(FIRST_ID + len(self._numbered), key)
            self._numbered.append(contact)
        contact.history = history
        self._remake(contact)

    def touch(self, key: str) -> None:
        """Change something of a contact that has nothing to do with its preferences.

        :raises KeyError: there is no such contact.
        """
        contact = self._by_address[key]
        contact.touched.append(self._clock.now_ms())
        self._remake(contact)

    def _remake(self, contact: PortalContact) -> None:
        opted_out: bool | None = None
        found = []
        for change in contact.history:
            if change.subscription is None and change.brand is None:
                opted_out = True
            elif opted_out and change.status == "SUBSCRIBED" and change.subscription is not None:
                opted_out = not self._settings.resubscribe_clears_opt_out
            found.append(self._version(contact.email, change.at, change.source, opted_out=opted_out))
        for at in contact.touched:
            before = [version for version in found if version.at <= at]
            opted_out = before[-1].opted_out if before else None
            found.append(self._version(contact.email, at, opted_out=opted_out))
        contact.versions = sorted(found, key=lambda version: version.at)

    def _version(self, key: str, at: int, source: str = "", *, opted_out: bool | None) -> ContactVersion:
        """Make a version; the same change always takes the index the same time."""
        share = zlib.crc32(f"{self._seed}:{key}:{at}".encode()) / 2**32
        return ContactVersion(at, opted_out, at + drawn_ms(self._settings.indexing_seconds, share), source)
