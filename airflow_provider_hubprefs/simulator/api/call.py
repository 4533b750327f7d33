"""One request to the simulated API, taken apart and checked: query and body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from airflow_provider_hubprefs.simulator.answers import invalid

T = TypeVar("T")


class AnyChannelQuery(msgspec.Struct, rename="camel"):
    """The query of a call that is for no channel; each call uses some of its members."""

    business_unit_id: int | None = None
    include_translations: bool = False


class ChannelQuery(AnyChannelQuery, rename="camel", kw_only=True):
    """The query of a call that is for the one channel there is."""

    channel: Literal["EMAIL"]
    verbose: bool = False


@dataclass(slots=True)
class ApiCall:
    """A request whose route is known. Its methods raise a 400 :class:`ApiError` for what HubSpot would refuse.

    :param address: the subscriber from the path, percent-decoded; empty where the path has none.
    """

    address: str
    query: dict[str, str]
    body: bytes

    def asked(self, kind: type[T]) -> T:
        """Return the query as an object of a kind."""
        try:
            return msgspec.convert(self.query, kind, strict=False)
        except msgspec.ValidationError as error:
            raise invalid(f"Invalid query parameters: {error}") from None

    def read(self, kind: type[T]) -> T:
        """Return the body as an object of a kind."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid(f"Invalid input JSON: {error}") from None
