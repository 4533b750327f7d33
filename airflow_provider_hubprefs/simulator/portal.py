"""The simulated account: preferences per address, and the rules by which they change. No HTTP here.

A subscriber's preferences are the fold of its history, so there is one thing to store, and what was there
before can always be shown. One change takes about 300 bytes with its address; a million subscribers fit.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_hubprefs.simulator.bodies import HubSpotError, invalid, not_found
from airflow_provider_hubprefs.simulator.clock import Clock, iso, milliseconds
from airflow_provider_hubprefs.simulator.contacts import Contacts
from airflow_provider_hubprefs.simulator.settings import Definition, PortalError, Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

STATUSES = ("SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED")
LEGAL_BASES = (
    "CONSENT_WITH_NOTICE",
    "LEGITIMATE_INTEREST_CLIENT",
    "LEGITIMATE_INTEREST_OTHER",
    "LEGITIMATE_INTEREST_PQL",
    "NON_GDPR",
    "PERFORMANCE_OF_CONTRACT",
    "PROCESS_AND_STORE",
)
API = "Public status API"  # the source HubSpot names for what came through its API (recorded live answers)

_ADDRESS = re.compile(
    r"""(?!\.)(?!.*\.\.)[^\s@"(),:;<>\[\]\\\x00-\x1f\x7f]{1,64}(?<!\.)
        @(?:[^\W_](?:(?:[^\W_]|-){0,61}[^\W_])?\.)+[^\W\d_](?:(?:[^\W_]|-){0,61}[^\W_])""",
    re.VERBOSE,
)


class Change(NamedTuple):
    """One entry of a subscriber's history.

    :param at: when, in milliseconds since 1970.
    :param subscription: the definition's number; ``None`` for an opt-out from everything.
    :param brand: for an opt-out, the brand it is for; ``None`` means the whole portal.
    """

    at: int
    subscription: int | None
    brand: int | None
    status: str
    source: str
    reason: str | None
    legal_basis: str | None
    explanation: str | None


@dataclass(slots=True)
class Operation:
    """A write that takes its time: a third of it PENDING, then PROCESSING, then its outcome."""

    started: int
    duration: int
    outcome: str
    change: Change | None
    settled: bool = False

    def status(self, now: int) -> str:
        """Return the operation's status at a time in milliseconds."""
        passed = now - self.started
        if passed >= self.duration:
            return self.outcome
        return "PENDING" if passed * 3 < self.duration else "PROCESSING"


class Portal:
    """What the account knows and how it behaves.

    :ivar preferences: history per lower-case address; folding it gives the present.
    :raises PortalError: when the document is not a portal.
    """

    def __init__(self, document: Mapping[str, Any], *, clock: Clock, seed: int) -> None:
        self.settings: Settings = read_settings(document)
        self.clock = clock
        self.seed = seed
        self.preferences: dict[str, tuple[Change, ...]] = {}
        self.operations: dict[str, list[Operation]] = {}
        self._rejected = _Patterns(self.settings.rejected)
        self._outcomes = _Patterns(self.settings.operation_outcomes)
        self._missing = {address.lower() for address in self.settings.missing.get("addresses", ())}
        self._load_subscribers()
        self.contacts = Contacts(self)

    # What exists ------------------------------------------------------------------------------------

    @property
    def active(self) -> list[Definition]:
        """The definitions that are not archived."""
        return [each for each in self.settings.definitions.values() if each.active]

    def definitions_of(self, brand: int | None) -> list[Definition]:
        """Return the active definitions, of one brand or of all."""
        return [each for each in self.active if brand is None or each.brand == brand]

    def definition(self, number: int) -> Definition:
        """Return an active definition by its number.

        HubSpot's answer to an unknown or archived one is published nowhere; the portal's
        ``unknown_subscription`` chooses between a 400 and a 404.

        :raises HubSpotError: when there is none, or it is archived.
        """
        found = self.settings.definitions.get(number)
        if found is None:
            message = f"Subscription {number} does not exist in portal {self.settings.portal_id}"
            raise (
                not_found(message) if self.settings.unknown_subscription == "not_found" else invalid(message)
            )
        if not found.active:
            raise invalid(f"Subscription {number} is not active")
        return found

    def check_brand(self, brand: int | None) -> None:
        """Refuse a brand the account does not have; 0 is the account's own and always exists.

        :raises HubSpotError: 400 VALIDATION_ERROR.
        """
        if brand is not None and brand != 0 and brand not in self.settings.brands:
            raise invalid(f"Business unit {brand} does not exist in portal {self.settings.portal_id}")

    def check_address(self, address: str) -> str:
        """Return the key of an address: its lower-case form.

        :raises HubSpotError: when it is no e-mail address, or the portal lists it as rejected.
        """
        if len(address) > 254 or not _ADDRESS.fullmatch(address):
            raise invalid(f"{address} is not a valid email address")
        key = address.lower()
        refusal = self._rejected.find(key)
        if refusal is not None:
            message = str(refusal.get("message", "{address} was rejected")).replace("{address}", address)
            raise HubSpotError(400, str(refusal.get("category", "VALIDATION_ERROR")), message)
        return key

    def is_missing(self, key: str) -> bool:
        """Tell whether a batch answer leaves this subscriber out without a word."""
        share = float(self.settings.missing.get("share", 0))
        return key in self._missing or _draw(f"{self.seed}:missing:{key}") < share

    @property
    def applies_missing(self) -> bool:
        """Whether a write to a subscriber that the answer leaves out is made all the same."""
        return bool(self.settings.missing.get("applied", False))

    def check_legal_basis(self, version: str, legal_basis: str | None, explanation: str | None) -> None:
        """Ask for the legal basis when data privacy is on.

        HubSpot's guide requires it with every version (``strict``); on a live portal with data privacy on,
        v3 refused writes without it and the dated API took them (``v3-only``).

        :raises HubSpotError: 400; HubSpot's exact message is not published.
        """
        mode = self.settings.data_privacy
        if mode == "off" or (mode == "v3-only" and version != "v3"):
            return
        lacking = [
            name
            for name, value in (("legalBasis", legal_basis), ("legalBasisExplanation", explanation))
            if not value
        ]
        if lacking:
            raise invalid(f"Data privacy is enabled for this portal: {', '.join(lacking)} is required")

    # What is so -------------------------------------------------------------------------------------

    def history(self, key: str) -> tuple[Change, ...]:
        """Return what happened to a subscriber, oldest first, with operations that have ended by now."""
        self._settle(key)
        return self.preferences.get(key, ())

    def current(self, key: str, definition: Definition) -> Change | None:
        """Return the change that decides a subscriber's status for a subscription; ``None`` if there is none.

        An opt-out makes every subscription of its brand, or of the portal, read UNSUBSCRIBED with the
        opt-out's time (recorded live answers); a later change of one subscription shows for that one.
        """
        found = None
        for change in self.history(key):
            if change.subscription == definition.number or (
                change.subscription is None and change.brand in (None, definition.brand)
            ):
                found = change
        return found

    def status(self, key: str, definition: Definition) -> str:
        """Return SUBSCRIBED, UNSUBSCRIBED or NOT_SPECIFIED."""
        change = self.current(key, definition)
        return change.status if change else "NOT_SPECIFIED"

    def opt_outs(self, key: str) -> dict[int | None, Change]:
        """Return a subscriber's opt-outs by brand; ``None`` is the whole portal's.

        Whether setting one subscription to SUBSCRIBED ends the opt-out is not known of the real HubSpot:
        here it does not, unless the portal says ``resubscribe_clears_opt_out``.
        """
        found: dict[int | None, Change] = {}
        for change in self.history(key):
            if change.subscription is None:
                found[change.brand] = change
            elif change.status == "SUBSCRIBED" and self.settings.resubscribe_clears_opt_out:
                definition = self.settings.definitions.get(change.subscription)
                found.pop(None, None)
                if definition is not None:
                    found.pop(definition.brand, None)
        return found

    # What is changed --------------------------------------------------------------------------------

    def set_status(
        self,
        key: str,
        definition: Definition,
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
        change = Change(
            self.clock.now_ms(), definition.number, None, status, API, reason, legal_basis, explanation
        )
        return self._begin(key, change), reason

    def unsubscribe_all(self, key: str, brand: int | None) -> tuple[str, dict[int, str]]:
        """Opt a subscriber out of everything, or of one brand.

        :param brand: ``None``: the whole portal.
        :returns: the operation's status, and the reason for each subscription it is about.
        """
        concerned = self.definitions_of(brand)
        is_new = brand not in self.opt_outs(key)
        reasons = {
            each.number: (
                "UNSUBSCRIBE_FROM_ALL_OCCURRED"
                if is_new or self.status(key, each) != "UNSUBSCRIBED"
                else "NO_STATUS_CHANGE"
            )
            for each in concerned
        }
        change = None
        if is_new or "UNSUBSCRIBE_FROM_ALL_OCCURRED" in reasons.values():
            reason = "UNSUBSCRIBE_FROM_ALL_OCCURRED"
            change = Change(self.clock.now_ms(), None, brand, "UNSUBSCRIBED", API, reason, None, None)
        return self._begin(key, change), reasons

    def opt_out(self, addresses: Iterable[str]) -> None:
        """Opt subscribers out of the whole portal, as they do themselves by a link: all at the same moment."""
        change = Change(self.clock.now_ms(), None, None, "UNSUBSCRIBED", "Unsubscribe link", None, None, None)
        for address in addresses:
            self._append(address.lower(), change)

    def operation_status(self, key: str) -> str:
        """Return the status of a subscriber's latest operation; COMPLETE when nothing is under way."""
        self._settle(key)
        operations = self.operations.get(key)
        return operations[-1].status(self.clock.now_ms()) if operations else "COMPLETE"

    def _begin(self, key: str, change: Change | None) -> str:
        duration = self._duration(key)
        outcome = self._outcomes.find(key) or "COMPLETE"
        if not duration and outcome == "COMPLETE":
            self.operations.pop(key, None)
            if change is not None:
                self._append(key, change)
            return outcome
        if change is None and outcome == "COMPLETE":  # nothing to do takes no time
            return self.operation_status(key)
        started = self.clock.now_ms()
        self.operations.setdefault(key, []).append(Operation(started, duration, outcome, change))
        return self.operation_status(key)

    def _duration(self, key: str) -> int:
        """Draw how long an operation takes, in milliseconds: always the same for the same subscriber."""
        least, most = self.settings.operation_seconds
        drawn = zlib.crc32(f"{self.seed}:{key}".encode()) / 2**32
        return int((least + (most - least) * drawn) * 1000)

    def _settle(self, key: str) -> None:
        """Make the changes of operations that have ended visible; those of canceled ones never are."""
        operations = self.operations.get(key)
        if not operations:
            return
        now = self.clock.now_ms()
        for operation in operations:
            ended = operation.started + operation.duration
            if operation.settled or now < ended:
                continue
            operation.settled = True
            if operation.change is not None and operation.outcome != "CANCELED":
                self._append(key, operation.change._replace(at=ended))
        # The last one stays for as long as it says something other than "nothing is under way".
        left = [each for each in operations if not each.settled]
        if not left and operations[-1].outcome != "COMPLETE":
            left = operations[-1:]
        if left:
            self.operations[key] = left
        else:
            del self.operations[key]

    def _append(self, key: str, change: Change) -> None:
        self.preferences[key] = (*self.preferences.get(key, ()), change)
        self.contacts.changed(key)

    # What is loaded and counted ---------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Return how many subscribers there are, how many have an opt-out, and the operations under way."""
        for key in list(self.operations):
            self._settle(key)
        return {
            "subscribers": len(self.preferences),
            "opted_out": sum(1 for key in list(self.preferences) if self.opt_outs(key)),
            "changes": sum(len(history) for history in list(self.preferences.values())),
            "operations": sum(len(operations) for operations in list(self.operations.values())),
        }

    def _load_subscribers(self) -> None:
        for address, wanted in self.settings.subscribers.items():
            self.preferences[address.lower()] = tuple(self._loaded(address, wanted))
        # No longer needed, and as large as what was made of it.
        self.settings.subscribers = {}
        if self.settings.generate:
            first = next(iter(self.settings.definitions))
            history = (Change(self.clock.now_ms(), first, None, "SUBSCRIBED", "Import", None, None, None),)
            for number in range(1, self.settings.generate + 1):
                self.preferences[f"subscriber-{number:07d}@example.com"] = history

    def _loaded(self, address: str, wanted: Any) -> Iterator[Change]:
        if not isinstance(wanted, dict) or set(wanted) - {"statuses", "opted_out"}:
            raise PortalError(
                f"portal.subscribers: expected {{'statuses': ..., 'opted_out': ...}} for an address, "
                f"found {wanted!r}"
            )
        opted_out = wanted.get("opted_out", False)
        now = self.clock.now_ms()
        brands: list[int | None] = (
            list(opted_out) if isinstance(opted_out, list) else [None] * bool(opted_out)
        )
        for brand in brands:
            if brand is not None and brand not in self.settings.brands:
                raise PortalError(f"portal.subscribers: there is no brand {brand!r}")
            yield Change(now, None, brand, "UNSUBSCRIBED", "Import", None, None, None)
        for number, status in wanted.get("statuses", {}).items():
            if not str(number).isdigit() or int(number) not in self.settings.definitions:
                raise PortalError(f"portal.subscribers: there is no subscription {number!r}")
            given = status if isinstance(status, dict) else {"status": status}
            if given.get("status") not in STATUSES:
                raise PortalError(f"portal.subscribers: a status is one of {STATUSES}, found {status!r}")
            at = milliseconds(given["timestamp"]) if "timestamp" in given else now
            source = str(given.get("source", "Import"))
            basis, explanation = given.get("legalBasis"), given.get("legalBasisExplanation")
            yield Change(at, int(number), None, given["status"], source, None, basis, explanation)


class _Patterns:
    """A mapping whose keys may be shell patterns; exact keys are found first, and fast."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        lower = {key.lower(): value for key, value in entries.items()}
        self._exact = {key: value for key, value in lower.items() if not set(key) & {"*", "?"}}
        self._patterns = {key: value for key, value in lower.items() if key not in self._exact}

    def find(self, key: str) -> Any:
        found = self._exact.get(key)
        if found is not None:
            return found
        return next((value for pattern, value in self._patterns.items() if fnmatchcase(key, pattern)), None)


def _draw(text: str) -> float:
    """Return a number in [0, 1) that is always the same for the same text."""
    return zlib.crc32(text.encode()) / 2**32


def describe(change: Change) -> dict[str, Any]:
    """Return a change as the control endpoint shows it."""
    return {**change._asdict(), "at": iso(change.at)}
