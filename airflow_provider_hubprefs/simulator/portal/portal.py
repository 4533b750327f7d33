"""The simulated account: preferences per address, and the rules by which they change.

A subscriber's preferences are the fold of its history. So there is one thing to store, and what was there before
can always be shown. One change takes about 300 bytes with its address; a million subscribers fit.
"""

from __future__ import annotations

import re
import zlib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_hubprefs.simulator.answers import ApiError, invalid
from airflow_provider_hubprefs.simulator.portal.contacts import PortalContacts
from airflow_provider_hubprefs.simulator.portal.definitions import (
    SubscriptionType,
    definitions_of_portal,
)
from airflow_provider_hubprefs.simulator.portal.history import (
    PortalOperation,
    PreferenceChange,
    ended_changes,
    left_over,
)
from airflow_provider_hubprefs.simulator.portal.settings import (
    PortalSettings,
    SubscriberSettings,
    drawn_ms,
)
from airflow_provider_hubprefs.simulator.portal.tokens import PortalTokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_hubprefs.simulator.portal.clock import SimulatedClock

T = TypeVar("T")
API = "Public status API"  # the source HubSpot names for what came through its API (recorded live answers)

_ADDRESS = re.compile(
    r"""(?!\.)(?!.*\.\.)[^\s@"(),:;<>\[\]\\\x00-\x1f\x7f]{1,64}(?<!\.)
        @(?:[^\W_](?:(?:[^\W_]|-){0,61}[^\W_])?\.)+[^\W\d_](?:(?:[^\W_]|-){0,61}[^\W_])""",
    re.VERBOSE,
)


class Portal:
    """What the account knows and how it behaves.

    :param seed: makes tokens, durations and the order of results the same each time.
    :ivar preferences: history per lower-case address; folding it gives the present.
    :ivar operations: those under way, per lower-case address.
    """

    def __init__(self, settings: PortalSettings, *, clock: SimulatedClock, seed: int) -> None:
        self.settings = settings
        self.clock = clock
        self.seed = seed
        self.definitions = definitions_of_portal(settings.brands)
        self.tokens = PortalTokens(clock, seed, settings)
        self.preferences: dict[str, tuple[PreferenceChange, ...]] = {}
        self.operations: dict[str, list[PortalOperation]] = {}
        self._contacts: PortalContacts | None = None
        self._rejected = {pattern.lower(): each for pattern, each in settings.rejected.items()}
        self._outcomes = {pattern.lower(): each for pattern, each in settings.operations.outcomes.items()}
        self._missing = {address.lower() for address in settings.missing.addresses}
        for address, wanted in settings.subscribers.items():
            self.preferences[address.lower()] = tuple(self._loaded(wanted))

    # What exists ------------------------------------------------------------------------------------

    @property
    def contacts(self) -> PortalContacts:
        """The CRM's contacts, made when first asked for, with all operations that have ended by now."""
        self._settle_all()
        if self._contacts is None:
            self._contacts = PortalContacts(self.clock, self.seed, self.settings)
            for key, history in list(self.preferences.items()):
                self._contacts.changed(key, history)
        return self._contacts

    @property
    def active(self) -> list[SubscriptionType]:
        """The definitions that are not archived."""
        return [each for each in self.definitions.values() if each.active]

    def definitions_of(self, brand: int | None) -> list[SubscriptionType]:
        """Return the active definitions, of one brand or of all."""
        return [each for each in self.active if brand is None or each.brand == brand]

    def definition(self, number: int) -> SubscriptionType:
        """Return an active definition by its number.

        :raises ApiError: 400, there is none, or it is archived. HubSpot's own answer is published nowhere.
        """
        found = self.definitions.get(number)
        if found is None:
            raise invalid(f"Subscription {number} does not exist in portal {self.settings.portal_id}")
        if not found.active:
            raise invalid(f"Subscription {number} is not active")
        return found

    def check_brand(self, brand: int | None) -> None:
        """Refuse a brand the account does not have; 0 is the account's own and always exists.

        :raises ApiError: 400 VALIDATION_ERROR.
        """
        if brand is not None and brand not in (0, *self.settings.brands):
            raise invalid(f"Business unit {brand} does not exist in portal {self.settings.portal_id}")

    def check_address(self, address: str) -> str:
        """Return the key of an address: its lower-case form.

        :raises ApiError: 400, it is no e-mail address, or the portal lists it as rejected.
        """
        if len(address) > 254 or not _ADDRESS.fullmatch(address):
            raise invalid(f"{address} is not a valid email address")
        key = address.lower()
        rejection = _matching(self._rejected, key)
        if rejection is not None:
            raise ApiError(400, rejection.category, rejection.message.replace("{address}", address))
        return key

    def is_missing(self, key: str) -> bool:
        """Return whether a batch answer leaves this subscriber out."""
        return key in self._missing

    def check_legal_basis(self, legal_basis: str | None, explanation: str | None) -> None:
        """Ask for the legal basis where data privacy is on, as HubSpot's guide requires.

        :raises ApiError: 400; HubSpot's exact message is not published.
        """
        if self.settings.data_privacy == "off":
            return
        given = {"legalBasis": legal_basis, "legalBasisExplanation": explanation}
        lacking = [name for name, value in given.items() if not value]
        if lacking:
            raise invalid(f"Data privacy is enabled for this portal: {', '.join(lacking)} is required")

    # What is so -------------------------------------------------------------------------------------

    def history(self, key: str) -> tuple[PreferenceChange, ...]:
        """Return what happened to a subscriber, oldest first, with operations that have ended by now."""
        self._settle(key)
        return self.preferences.get(key, ())

    def current(self, key: str, definition: SubscriptionType) -> PreferenceChange | None:
        """Return the change that decides a subscriber's status for a subscription; ``None`` if there is none.

        An opt-out makes every subscription of its brand, or of the portal, read UNSUBSCRIBED with the
        opt-out's time (recorded live answers). A later change of one subscription shows for that one.
        """
        found = None
        number, brands = definition.number, (None, definition.brand)
        for change in self.history(key):
            if change.subscription == number or (change.subscription is None and change.brand in brands):
                found = change
        return found

    def status(self, key: str, definition: SubscriptionType) -> str:
        """Return SUBSCRIBED, UNSUBSCRIBED or NOT_SPECIFIED."""
        change = self.current(key, definition)
        return change.status if change else "NOT_SPECIFIED"

    def opt_outs(self, key: str) -> dict[int | None, PreferenceChange]:
        """Return a subscriber's opt-outs by brand; ``None`` is the whole portal's.

        Whether SUBSCRIBED for one subscription ends the opt-out is not known of the real HubSpot. Here it does
        not, unless the portal says ``resubscribe_clears_opt_out``.
        """
        found: dict[int | None, PreferenceChange] = {}
        for change in self.history(key):
            if change.subscription is None:
                found[change.brand] = change
            elif change.status == "SUBSCRIBED" and self.settings.resubscribe_clears_opt_out:
                found.pop(None, None)
                found.pop(self.definitions[change.subscription].brand, None)
        return found

    def operation_status(self, key: str) -> str:
        """Return the status of a subscriber's latest operation; COMPLETE when nothing is under way."""
        self._settle(key)
        operations = self.operations.get(key)
        return operations[-1].status(self.clock.now_ms()) if operations else "COMPLETE"

    # What is changed --------------------------------------------------------------------------------

    def set_status(
        self,
        key: str,
        definition: SubscriptionType,
        status: str,
        *,
        legal_basis: str | None = None,
        explanation: str | None = None,
    ) -> tuple[str, str]:
        """Set one subscriber's status for one subscription.

        NOT_SPECIFIED is accepted as a status to write; what HubSpot makes of it is not published.

        :returns: the operation's status, and HubSpot's ``setStatusSuccessReason``.
        """
        before = self.status(key, definition)
        if before == status:
            return self._begin(key, None), "NO_STATUS_CHANGE"
        resubscribed = before == "UNSUBSCRIBED" and status == "SUBSCRIBED"
        reason = "RESUBSCRIBE_OCCURRED" if resubscribed else "REQUESTED_CHANGE_OCCURRED"
        now = self.clock.now_ms()
        change = PreferenceChange(now, definition.number, None, status, API, reason, legal_basis, explanation)
        return self._begin(key, change), reason

    def unsubscribe_all(self, key: str, brand: int | None) -> tuple[str, dict[int, str]]:
        """Opt a subscriber out of everything, or of one brand.

        :param brand: ``None``: the whole portal.
        :returns: the operation's status, and the reason for each subscription it is about.
        """
        occurred = "UNSUBSCRIBE_FROM_ALL_OCCURRED"
        is_new = brand not in self.opt_outs(key)
        reasons = {
            each.number: occurred
            if is_new or self.status(key, each) != "UNSUBSCRIBED"
            else "NO_STATUS_CHANGE"
            for each in self.definitions_of(brand)
        }
        change = None
        if is_new or occurred in reasons.values():
            change = PreferenceChange(self.clock.now_ms(), None, brand, "UNSUBSCRIBED", API, occurred)
        return self._begin(key, change), reasons

    def opt_out(self, addresses: Iterable[str]) -> None:
        """Opt subscribers out of the whole portal, as they do themselves by a link: all at the same moment."""
        change = PreferenceChange(self.clock.now_ms(), None, None, "UNSUBSCRIBED", "Unsubscribe link")
        for address in addresses:
            self._append(address.lower(), change)

    def _begin(self, key: str, change: PreferenceChange | None) -> str:
        duration = drawn_ms(
            self.settings.operations.seconds, zlib.crc32(f"{self.seed}:{key}".encode()) / 2**32
        )
        outcome = _matching(self._outcomes, key) or "COMPLETE"
        if not duration and outcome == "COMPLETE":
            self.operations.pop(key, None)
            if change is not None:
                self._append(key, change)
            return "COMPLETE"
        if change is not None or outcome != "COMPLETE":  # to do nothing takes no time
            begun = PortalOperation(self.clock.now_ms(), duration, outcome, change)
            self.operations.setdefault(key, []).append(begun)
        return self.operation_status(key)

    def _settle_all(self) -> None:
        for key in list(self.operations):
            self._settle(key)

    def _settle(self, key: str) -> None:
        """Make the changes of operations that have ended visible."""
        operations = self.operations.get(key)
        if not operations:
            return
        for change in ended_changes(operations, self.clock.now_ms()):
            self._append(key, change)
        left = left_over(operations)
        if left:
            self.operations[key] = left
        else:
            del self.operations[key]

    def _append(self, key: str, change: PreferenceChange) -> None:
        history = self.preferences[key] = (*self.preferences.get(key, ()), change)
        if self._contacts is not None:
            self._contacts.changed(key, history)

    # What is loaded and counted ---------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Return how many subscribers there are, and how many have an opt-out."""
        self._settle_all()
        return {
            "subscribers": len(self.preferences),
            "opted_out": sum(1 for key in list(self.preferences) if self.opt_outs(key)),
        }

    def _loaded(self, wanted: SubscriberSettings) -> Iterator[PreferenceChange]:
        now = self.clock.now_ms()
        if wanted.opted_out:
            yield PreferenceChange(now, None, None, "UNSUBSCRIBED", "Import")
        for number, status in wanted.statuses.items():
            yield PreferenceChange(now, number, None, status, "Import")


def _matching(patterns: Mapping[str, T], key: str) -> T | None:
    """Return the value for an address: its own, or that of the first shell pattern that matches."""
    if key in patterns:
        return patterns[key]
    return next((value for pattern, value in patterns.items() if fnmatchcase(key, pattern)), None)
