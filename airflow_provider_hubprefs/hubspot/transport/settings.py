"""How long a client waits and how much it reads. Both clients share these settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from airflow_provider_hubprefs.hubspot.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DAY = 86_400.0
"""Seconds; as long as HubSpot may ask to wait. A longer time was meant in milliseconds."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=_DAY)]
Timeout = Annotated[float, msgspec.Meta(gt=0, le=_DAY)]
Bytes = Annotated[int, msgspec.Meta(gt=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Times are in seconds, at most a day. Unchecked when made by name: see :func:`settings_from`.

    :param connect_timeout: to reach HubSpot and agree on TLS.
    :param read_timeout: between two pieces of an answer, for the whole of its head and for the whole of its body.
        HubSpot itself gives up after 100 s and says 524 (HubSpot's guide "Error handling"), so the default is a little
        above.
    :param retry_total: no attempt of one call starts later than this after its first, waits for the budget included;
        the first waits for the budget 10 s longer at most. A migration does not count.
    :param migrating_max_wait: the longest ``Retry-After`` of a 477 (the account moves between data centres,
        up to 24 h) to wait for; a longer one is an error at once.
    :param retry_first_wait: about how long after the first failure the second attempt comes.
    :param retry_max_wait: the wait doubles up to this.
    :param max_answer_bytes: a longer answer is refused while it is read; memory stays bounded.
    """

    connect_timeout: Timeout = 10.0
    read_timeout: Timeout = 110.0
    retry_total: Seconds = 300.0
    migrating_max_wait: Seconds = 900.0
    retry_first_wait: Seconds = 1.0
    retry_max_wait: Seconds = 60.0
    max_answer_bytes: Bytes = 64 * 1024 * 1024


def settings_from(values: Mapping[str, Any], *, defaults: Settings | None = None) -> Settings:
    """Check settings that a person has written; a form or a URI gives numbers as text.

    :param values: by name; other names are ignored.
    :param defaults: for what ``values`` does not have.
    :raises SettingsError: names the setting and the numbers it may have.
    """
    known = msgspec.structs.asdict(defaults) if defaults else {}
    try:
        return msgspec.convert({**known, **values}, Settings, strict=False)
    except msgspec.ValidationError as error:
        expected, _, place = str(error).partition(" - at `$.")
    raise SettingsError(
        f"{place.rstrip('`')}: {expected[:1].lower()}{expected[1:]} (times are seconds, at most a day)"
    )
