"""Errors for a call without a whole answer. Their texts are our own: the libraries' name the URL."""

from __future__ import annotations

from enum import Enum

from airflow_provider_hubprefs.hubspot.errors import (
    ConnectionFailedError,
    HubSpotError,
    SettingsError,
)


class Cause(Enum):
    """Why there is no answer."""

    BAD_PROXY = "the environment's proxy is not a usable URL"
    PROXY = "the proxy refused"
    TLS = "certificate not trusted, or no TLS"
    NAME = "unknown host name"
    UNREACHABLE = "no connection, so nothing was sent"
    SILENT = "connected, but no answer in time"
    BROKEN = "connected, but the answer is incomplete"


def unanswered(cause: Cause, what: str, url: str, kind: str) -> HubSpotError:
    """Make the error of a cause; its ``not_applied`` says whether HubSpot can have acted on the call.

    :param what: the call, for the text.
    :param url: scheme and host.
    :param kind: of the library's error, its name only.
    """
    match cause:
        case Cause.BAD_PROXY:
            return SettingsError(
                f"{what}: the environment's proxy cannot be used for {url} ({kind}); check HTTPS_PROXY"
            )
        case Cause.PROXY:
            text = f"{what}: no connection to {url} through the proxy; check HTTPS_PROXY and NO_PROXY"
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
                f"{what}: the connection to {url} broke before the answer was complete ({kind})",
                retryable=True,
            )


def reasons(error: BaseException | None) -> list[BaseException]:
    """The error and all its causes; requests hides urllib3's in arguments and ``reason``."""
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
