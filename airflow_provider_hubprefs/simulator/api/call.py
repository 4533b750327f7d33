"""One request to the simulated API, taken apart and checked: query and body."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from airflow_provider_hubprefs.simulator.answers import invalid

B = TypeVar("B", bound=msgspec.Struct)


@dataclass(slots=True)
class ApiCall:
    """A request whose route is known. Its methods raise a 400 :class:`ApiError` for what HubSpot would refuse.

    :param version: the API version in the path.
    :param address: the subscriber from the path, percent-decoded; empty where the path has none.
    """

    version: str = ""
    address: str = ""
    query: dict[str, str] = field(default_factory=dict)
    content_type: str = ""
    body: bytes = b""

    def channel(self) -> None:
        """Ask for ``channel=EMAIL``, the only channel there is."""
        channel = self.query.get("channel")
        if channel is None:
            raise invalid("Required query parameter 'channel' is missing")
        if channel != "EMAIL":
            raise invalid(f"Invalid value '{channel}' for query parameter 'channel': expected one of [EMAIL]")

    def brand(self) -> int | None:
        """Return ``businessUnitId``, if given."""
        text = self.query.get("businessUnitId")
        if text is not None and not re.fullmatch(r"-?\d{1,19}", text, re.ASCII):
            raise invalid(f"Invalid value '{text}' for query parameter 'businessUnitId': expected an integer")
        return None if text is None else int(text)

    def flag(self, name: str) -> bool:
        """Return a boolean query parameter; ``False`` when it is absent."""
        text = self.query.get(name, "false").lower()
        if text not in ("true", "false"):
            raise invalid(f"Invalid value '{text}' for query parameter '{name}': expected a boolean")
        return text == "true"

    def read(self, kind: type[B]) -> B:
        """Return the body as an object of a kind; see :func:`build`."""
        try:
            decoded = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid(f"Invalid input JSON on line 1, column 1: {error}") from None
        return build(decoded, kind)


def build(decoded: Any, kind: type[B]) -> B:
    """Return a decoded value as an object of a kind, which has the name that HubSpot gives it in its message.

    The message about missing attributes is the one recorded of v3; that the later versions name their own classes
    is assumed.

    :raises ApiError: 400.
    """
    if not isinstance(decoded, dict):
        raise invalid(
            f"Invalid input JSON on line 1, column 1: Cannot deserialize value of type `{kind.__name__}`"
        )
    missing = [name for name in _required(kind) if decoded.get(name) is None]
    if missing:
        raise invalid(
            f"Invalid input JSON on line 1, column 2: Cannot build {kind.__name__}, some of required attributes "
            f"are not set [{', '.join(missing)}]"
        )
    try:
        return msgspec.convert(decoded, kind)
    except msgspec.ValidationError as error:
        raise invalid(f"Invalid input JSON: {error}") from None


@functools.cache
def _required(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(each.encode_name for each in msgspec.structs.fields(kind) if each.required)
