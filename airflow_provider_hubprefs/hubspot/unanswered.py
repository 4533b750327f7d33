"""What it means that no whole answer came, whichever library says so: never in that library's words.

Those name the URL, and with it the address.
"""

from __future__ import annotations

from enum import Enum

from airflow_provider_hubprefs.hubspot.errors import (
    ConnectionFailedError,
    HubSpotError,
    SettingsError,
)


class Cause(Enum):
    """Why there is no answer."""

    BAD_PROXY = "no request could be made: the proxy of the environment cannot be one"
    PROXY = "the proxy did not let it through"
    TLS = "nobody vouches for the other side, or it speaks no TLS"
    NAME = "the name cannot be looked up"
    UNREACHABLE = "no connection came about, so nothing was sent"
    SILENT = "connected, but no answer in time"
    BROKEN = "connected, but the answer was not whole"


def unanswered(cause: Cause, what: str, url: str, kind: str) -> HubSpotError:
    """Make the error of a cause; it says whether HubSpot can have acted on the call.

    :param what: the call, for the text.
    :param url: scheme and host.
    :param kind: of the library's error, its name only.
    """
    match cause:
        case Cause.BAD_PROXY:
            return SettingsError(
                f"{what}: no request could be made of {url} and the proxy of the environment ({kind}); "
                "check HTTPS_PROXY"
            )
        case Cause.PROXY:
            text = f"{what}: no way to {url} through the proxy of the environment; check HTTPS_PROXY and NO_PROXY"
            return ConnectionFailedError(text, retryable=True, not_applied=True)
        case Cause.TLS:
            return ConnectionFailedError(
                f"{what}: no trusted TLS connection to {url}; check the certificates of this machine and any "
                "proxy between (REQUESTS_CA_BUNDLE)"
            )
        case Cause.NAME:
            text = f"{what}: the name in {url} cannot be looked up; check DNS and the connection's host"
            return ConnectionFailedError(text, retryable=True, not_applied=True)
        case Cause.UNREACHABLE:
            text = f"{what}: no connection to {url} (refused, unreachable or timed out)"
            return ConnectionFailedError(text, retryable=True, not_applied=True)
        case Cause.SILENT:
            return ConnectionFailedError(f"{what}: {url} did not answer in time", retryable=True)
        case Cause.BROKEN:
            return ConnectionFailedError(
                f"{what}: the connection to {url} broke before the whole answer was there ({kind})",
                retryable=True,
            )


def reasons(error: BaseException | None) -> list[BaseException]:
    """The error and all it was caused by; requests hides urllib3's in arguments and ``reason``."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or any(one is known for known in found):
            continue
        found.append(one)
        waiting += [getattr(one, "reason", None), one.__cause__, one.__context__]
        waiting += [argument for argument in one.args if isinstance(argument, BaseException)]
    return found
