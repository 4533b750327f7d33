"""One request to the simulated API, taken apart and checked: query, body and required attributes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.simulator.bodies import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_INT64 = range(-(2**63), 2**63)


@dataclass(slots=True)
class Call:
    """A request whose endpoint is known.

    :param address: the subscriber from the path, percent-decoded; empty where the path has none.
    """

    endpoint: str
    version: str
    address: str = ""
    query: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def channel(self) -> None:
        """Ask for ``channel=EMAIL``, the only channel there is.

        :raises HubSpotError: 400 when it is missing or another.
        """
        channel = self.query.get("channel")
        if channel is None:
            raise invalid("Required query parameter 'channel' is missing")
        if channel != "EMAIL":
            raise invalid(f"Invalid value '{channel}' for query parameter 'channel': expected one of [EMAIL]")

    def brand(self) -> int | None:
        """Return ``businessUnitId``, if given.

        :raises HubSpotError: 400 when it is not a whole number.
        """
        text = self.query.get("businessUnitId")
        if text is None:
            return None
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 19 or int(text) not in _INT64:
            raise invalid(f"Invalid value '{text}' for query parameter 'businessUnitId': expected an integer")
        return int(text)

    def flag(self, name: str) -> bool:
        """Return a boolean query parameter; ``False`` when it is absent.

        :raises HubSpotError: 400 when it is neither true nor false.
        """
        text = self.query.get(name, "false")
        if text.lower() not in ("true", "false"):
            raise invalid(f"Invalid value '{text}' for query parameter '{name}': expected a boolean")
        return text.lower() == "true"

    def object(self, builds: str, required: Sequence[str]) -> dict[str, Any]:
        """Return the JSON object of the body.

        :param builds: the class HubSpot names in its message when it cannot build it from the body.
        :raises HubSpotError: 400 when the body is not JSON, not an object, or lacks an attribute.
        """
        try:
            decoded = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid(f"Invalid input JSON on line 1, column 1: {error}") from error
        return attributes(decoded, builds, required)


def attributes(decoded: Any, builds: str, required: Sequence[str]) -> dict[str, Any]:
    """Return a decoded value as an object that has the required attributes.

    The message is HubSpot's for v3 (recorded); that the later versions name their own classes is assumed.

    :raises HubSpotError: 400.
    """
    if not isinstance(decoded, dict):
        raise invalid(f"Invalid input JSON on line 1, column 1: Cannot deserialize value of type `{builds}`")
    missing = [name for name in required if decoded.get(name) is None]
    if missing:
        raise invalid(
            f"Invalid input JSON on line 1, column 2: Cannot build {builds}, some of required attributes "
            f"are not set [{', '.join(missing)}]"
        )
    return decoded


def text(values: Mapping[str, Any], name: str, choices: Sequence[str] = ()) -> str:
    """Return a required string attribute, one of the choices where there are any.

    :raises HubSpotError: 400.
    """
    value = values[name]
    if not isinstance(value, str):
        raise invalid(f"Invalid input JSON: {name} must be a string")
    if choices and value not in choices:
        raise invalid(f"Invalid input JSON: {value} is not one of [{', '.join(choices)}] for {name}")
    return value


def optional_text(values: Mapping[str, Any], name: str, choices: Sequence[str] = ()) -> str | None:
    """Return a string attribute that may be absent or null.

    :raises HubSpotError: 400.
    """
    return None if values.get(name) is None else text(values, name, choices)


def number(values: Mapping[str, Any], name: str) -> int:
    """Return a required whole number (int64).

    :raises HubSpotError: 400.
    """
    value = values[name]
    if not isinstance(value, int) or isinstance(value, bool) or value not in _INT64:
        raise invalid(f"Invalid input JSON: {name} must be an integer")
    return value
