"""A portal as a document (a mapping, or a JSON file): read, checked, and filled with defaults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from airflow_provider_hubprefs.simulator.portal.definitions import ALL_SCOPES

if TYPE_CHECKING:
    from collections.abc import Mapping

_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
Seconds = float | tuple[float, float]
"""A number, or ``[from, to]``."""
Status = Literal["SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"]


class _Member(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of all: an unknown member is refused."""


class TokenSettings(_Member):
    """One token; absent members mean all scopes, the account's burst limit, a made-up value, no expiry.

    :param expires_in: seconds; a negative number makes an expired token.
    """

    kind: Literal["private_app", "oauth"] = "private_app"
    scopes: tuple[str, ...] = ALL_SCOPES
    burst: int | None = None
    value: str | None = None
    expires_in: float | None = None


class OAuthSettings(_Member):
    """The OAuth app that is installed in the portal.

    :param rotate: whether each refresh gives a new refresh token.
    """

    client_id: str = "simulated-client"
    client_secret: str = "simulated-secret"  # noqa: S105 - of no real app
    refresh_token: str = "simulated-refresh-token"  # noqa: S105
    expires_in: int = 1800
    rotate: bool = False
    scopes: tuple[str, ...] = ALL_SCOPES


class SubscriberSettings(_Member):
    """What the portal knows of a subscriber from the start.

    :param opted_out: of the whole portal.
    """

    opted_out: bool = False
    statuses: dict[int, Status] = {}


class Rejection(_Member):
    """Why HubSpot refuses an address; ``{address}`` stands for it in the message."""

    category: str = "VALIDATION_ERROR"
    message: str = "{address} cannot receive communication preferences"


class MissingSettings(_Member):
    """Subscribers that the 200 of a batch leaves out.

    :param applied: whether a write to them is made.
    """

    addresses: list[str] = []
    applied: bool = False


class OperationSettings(_Member):
    """How long a write takes to end, and how it ends: an address or pattern, and CANCELED or any other word."""

    seconds: Seconds = 0.0
    outcomes: dict[str, str] = {}


class LimitSettings(_Member):
    """The account's limits; a token may have a burst limit of its own.

    :param burst: requests in ``interval_ms``, per app.
    :param search: CRM searches a second, of the whole account.
    :param search_results: results that a search can page to.
    :param search_page: results of one page, also where a search asks for more.
    :param count_refused: whether a refused request counts as well.
    """

    burst: _AtLeastOne = 190
    interval_ms: _AtLeastOne = 10_000
    daily: int = 1_000_000
    search: _AtLeastOne = 5
    search_results: _AtLeastOne = 10_000
    search_page: _AtLeastOne = 200
    count_refused: bool = False


class PortalSettings(_Member):
    """A portal document. Its patterns are those of a shell: ``*`` and ``?``.

    :param brands: ids; with any, the portal has the Brands add-on.
    :param tokens: by name, besides the default ones.
    :param subscribers: by address.
    :param rejected: by address or pattern: HubSpot refuses these.
    :param batch_maximum: inputs per batch; HubSpot does not document it.
    :param batch_errors: what a bad row does to its batch: it is named, is not named, or refuses the whole batch.
    :param data_privacy: ``strict`` asks for a legal basis.
    :param resubscribe_clears_opt_out: whether SUBSCRIBED for one subscription ends a portal-wide opt-out.
    :param indexing_seconds: until CRM searches see a change.
    """

    portal_id: int = 48120091
    brands: list[int] = []
    tokens: dict[str, TokenSettings] = {}
    oauth: OAuthSettings = msgspec.field(default_factory=OAuthSettings)
    subscribers: dict[str, SubscriberSettings] = {}
    rejected: dict[str, Rejection] = msgspec.field(
        default_factory=lambda: {"rejected*@hubspot-rejects.example": Rejection()}
    )
    missing: MissingSettings = msgspec.field(default_factory=MissingSettings)
    batch_maximum: int = 100
    batch_errors: Literal["context", "no_context", "whole"] = "context"
    data_privacy: Literal["off", "strict"] = "off"
    unknown_subscriber: Literal["not_specified", "not_found"] = "not_specified"
    resubscribe_clears_opt_out: bool = False
    operations: OperationSettings = msgspec.field(default_factory=OperationSettings)
    limits: LimitSettings = msgspec.field(default_factory=LimitSettings)
    indexing_seconds: Seconds = 0.0


def read_settings(document: Mapping[str, Any] | Path | str | None) -> PortalSettings:
    """Read and check a portal document.

    :param document: a mapping, or the path of a JSON file; the defaults if None.
    :raises msgspec.MsgspecError: a member is unknown or of the wrong kind, or the file is not JSON.
    :raises OSError: the file cannot be read.
    """
    if isinstance(document, Path | str):
        document = msgspec.json.decode(Path(document).read_bytes())
    return msgspec.convert(document or {}, PortalSettings, str_keys=True)


def drawn_ms(seconds: Seconds, share: float) -> int:
    """Return a duration in milliseconds.

    :param share: where in ``[from, to]`` it lies, from 0 to 1.
    """
    least, most = seconds if isinstance(seconds, tuple) else (seconds, seconds)
    return int((least + (most - least) * share) * 1000)
