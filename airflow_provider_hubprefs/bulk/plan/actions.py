"""What is to be done about one row: the wanted status against what HubSpot shows. Pure: nothing here asks or writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from airflow_provider_hubprefs.bulk.report.outcome import (
    CHANGED_IN_HUBSPOT,
    NEWER_IN_HUBSPOT,
    OPTED_OUT_IN_HUBSPOT,
    STATED_IN_HUBSPOT,
)
from airflow_provider_hubprefs.bulk.send.guards import actual_status
from airflow_provider_hubprefs.bulk.send.writes import opted_out_of
from airflow_provider_hubprefs.hubspot.api.models import LEGAL_BASES, STATUSES
from airflow_provider_hubprefs.hubspot.errors import ValidationError
from airflow_provider_hubprefs.hubspot.privacy import shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from airflow_provider_hubprefs.bulk.source.row import Wanted
    from airflow_provider_hubprefs.hubspot.api.models import StatusName, SubscriptionStatus

Change = Literal["opt_out", "unsubscribe", "subscribe", "resubscribe"]
CHANGES: tuple[Change, ...] = get_args(Change)
Action = Literal["opt_out", "unsubscribe", "subscribe", "resubscribe", "unchanged", "refused"]

LEGAL_BASIS_MISSING = "LEGAL_BASIS_MISSING"

GUARDS = ("max_changes", "max_resubscribes", "max_shrink", "legal_basis", "subscriptions")
"""Guards that stop a plan from being applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What decides between a row and HubSpot, and what stops a plan.

    :param allow_resubscribe: whether a row with a legal basis may subscribe who has unsubscribed. Without it an
        opt-out in HubSpot always wins.
    :param on_newer_in_hubspot: where the row says since when it is wanted, and HubSpot's status is newer: ``"keep"``
        HubSpot's, or ``"overwrite"`` it. HubSpot's time is when the status was set there, by an earlier run, too.
    :param legal_basis: of the rows that have none of their own.
    :param legal_basis_explanation: of the rows that have none of their own.
    :param max_changes: so many rows, at most, may be to change.
    :param max_resubscribes: so many of them may subscribe who has unsubscribed.
    :param max_shrink: share by which the number of rows may be less than it was the last time.
    :param report_only: names of guards (:data:`GUARDS`) that say what they found and stop nothing.
    :raises ValidationError: a value cannot be; the text names it.
    """

    allow_resubscribe: bool = False
    on_newer_in_hubspot: Literal["keep", "overwrite"] = "keep"
    legal_basis: str | None = None
    legal_basis_explanation: str | None = None
    max_changes: int | None = None
    max_resubscribes: int = 0
    max_shrink: float | None = None
    report_only: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for name, expected, fits in (
            ("on_newer_in_hubspot", "keep or overwrite", self.on_newer_in_hubspot in {"keep", "overwrite"}),
            ("legal_basis", ", ".join(LEGAL_BASES), self.legal_basis in {None, *LEGAL_BASES}),
            (
                "max_changes",
                "a whole number",
                self.max_changes is None or _is_at_least_zero(self.max_changes, int),
            ),
            ("max_resubscribes", "a whole number", _is_at_least_zero(self.max_resubscribes, int)),
            ("max_shrink", "a share from 0 to 1", self.max_shrink is None or _is_share(self.max_shrink)),
            ("report_only", f"names among {', '.join(GUARDS)}", set(self.report_only) <= set(GUARDS)),
        ):
            if not fits:
                raise ValidationError(f"{name}: expected {expected}, got {shown(getattr(self, name))}")


def _is_at_least_zero(given: object, kind: Any) -> bool:
    return isinstance(given, kind) and not isinstance(given, bool) and given >= 0


def _is_share(given: Any) -> bool:
    return _is_at_least_zero(given, int | float) and given <= 1


class Planned(NamedTuple):
    """What is to be done about one row.

    :param before: HubSpot's status; of everything UNSUBSCRIBED, or else NOT_SPECIFIED.
    :param guard: of a row that is refused, why: the category of its outcome.
    :param before_at: since when HubSpot has that status, where it says so.
    """

    action: Action
    before: StatusName
    guard: str | None = None
    before_at: datetime | None = None


MESSAGES = {
    OPTED_OUT_IN_HUBSPOT: "the subscriber has unsubscribed in HubSpot, which wins: if there is a new consent, set "
    "allow_resubscribe=True, and the row needs a legal basis",
    NEWER_IN_HUBSPOT: "HubSpot's status is newer than the row, and wins (on_newer_in_hubspot='keep')",
    STATED_IN_HUBSPOT: "the row wants no status, and HubSpot has one, which its API cannot take away",
    CHANGED_IN_HUBSPOT: "the status has changed in HubSpot since the plan was made",
    LEGAL_BASIS_MISSING: "the row would subscribe, and has no legal basis: give it one, or one for all rows "
    "(legal_basis)",
}
"""What a row's category means."""


def decide(
    wanted: Wanted, actual: Sequence[Any] | None, rules: Rules, *, brand: int | None = None
) -> Planned | None:
    """Say what is to be done.

    HubSpot's API has no documented way back to NOT_SPECIFIED: what a status of this name makes of another, is not
    published. A row that wants it is unchanged, or refused.

    :param wanted: with what is the same for all rows; it has a status.
    :param actual: what HubSpot shows of the subscriber: opt-outs
        (:class:`~airflow_provider_hubprefs.hubspot.api.models.WideStatus`) where everything is wanted, or else
        statuses; None: unknown.
    :param brand: whose opt-out is one from everything; None: the portal.
    :return: None: HubSpot's status is unknown, which permits nothing.
    """
    if actual is None:
        return None
    if wanted.everything:
        out = opted_out_of(brand, actual)
        return Planned("unchanged", "UNSUBSCRIBED") if out else Planned("opt_out", "NOT_SPECIFIED")
    number = wanted.subscription_id
    if number is None or wanted.status not in STATUSES:
        raise ValueError(f"expected a row with a subscription and a status, got {wanted.status}")
    before = actual_status(actual, number)
    if before is None:
        return None
    # Of NOT_SPECIFIED nothing was said, whatever time stands beside it.
    before_at = None if before == "NOT_SPECIFIED" else since(actual, number)
    action = _action(wanted, before, before_at, rules)
    if action in MESSAGES:
        return Planned("refused", before, action, before_at)
    return Planned(action, before, None, before_at)  # type: ignore[arg-type]


def since(statuses: Sequence[SubscriptionStatus], number: int) -> datetime | None:
    """Return when the status of a subscription was set, where HubSpot says so."""
    return max(
        (one.timestamp for one in statuses if one.subscription_id == number and one.timestamp), default=None
    )


def _action(wanted: Wanted, before: StatusName, before_at: datetime | None, rules: Rules) -> str:
    """Return an action, or the category of a row that is refused."""
    if wanted.status == before:
        return "unchanged"
    permitted = rules.allow_resubscribe and wanted.status == "SUBSCRIBED" and bool(wanted.legal_basis)
    if before == "UNSUBSCRIBED" and not permitted:
        return OPTED_OUT_IN_HUBSPOT
    if wanted.status == "NOT_SPECIFIED":
        return STATED_IN_HUBSPOT
    later = before_at is not None and wanted.effective_at is not None and before_at > wanted.effective_at
    if later and rules.on_newer_in_hubspot == "keep":
        return NEWER_IN_HUBSPOT
    if wanted.status == "UNSUBSCRIBED":
        return "unsubscribe"
    if not wanted.legal_basis:
        return LEGAL_BASIS_MISSING
    return "resubscribe" if before == "UNSUBSCRIBED" else "subscribe"
