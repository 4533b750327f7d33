"""Errors for a call without a whole answer. Their texts are our own: the libraries' name the URL."""

from __future__ import annotations

import re
import ssl
from enum import Enum

from airflow_provider_hubprefs.hubspot.errors import (
    ConnectionFailedError,
    HubSpotError,
    SettingsError,
)


class Cause(Enum):
    """Why there is no answer: the text, whether that may pass, and whether it is certain that nothing was sent."""

    BAD_PROXY = ("the environment's proxy cannot be used for {url} ({kind}); check HTTPS_PROXY", False, False)
    PROXY_LOGIN = (
        "no connection to {url} through the proxy: it refuses the login (407); check user and password in HTTPS_PROXY",
        False,
        True,
    )
    PROXY = ("no connection to {url} through the proxy; check HTTPS_PROXY and NO_PROXY", True, True)
    TLS = (
        "no trusted TLS connection to {url}; check the certificates of this machine and any proxy between "
        "(REQUESTS_CA_BUNDLE)",
        False,
        False,
    )
    NAME = ("the name in {url} cannot be looked up; check DNS and the connection's host", True, True)
    UNREACHABLE = ("no connection to {url} (refused, unreachable or timed out)", True, True)
    HANDSHAKE = ("no connection to {url} (TLS was not agreed on)", True, True)
    SILENT = ("{url} did not answer in time", True, False)
    BROKEN = ("the connection to {url} broke before the answer was complete ({kind})", True, False)


_PROXY_LOGIN = re.compile(r"\b407\b")

Causes = tuple[tuple[Cause, tuple[type[BaseException], ...]], ...]
"""The errors of a library by what they mean. The first row counts that has the error or one of its causes."""


def unanswered(error: Exception, causes: Causes, *, what: str, url: str) -> HubSpotError:
    """Make the error of a failure; its ``not_applied`` says whether HubSpot can have acted on the call.

    :param error: the library's.
    :param causes: of the library.
    :param what: the call, for the text.
    :param url: scheme and host.
    """
    known = reasons(error)
    cause = next(cause for cause, kinds in causes if any(isinstance(one, kinds) for one in known))
    if cause is Cause.UNREACHABLE and any(isinstance(one, ssl.SSLError) for one in known):
        cause = Cause.HANDSHAKE
    if any(_PROXY_LOGIN.search(str(one)) for one in known if cause is Cause.PROXY):
        cause = Cause.PROXY_LOGIN
    text, retryable, not_applied = cause.value
    text = f"{what}: {text.format(url=url, kind=type(error).__name__)}"
    if cause is Cause.BAD_PROXY:
        return SettingsError(text)
    return ConnectionFailedError(text, retryable=retryable, not_applied=not_applied)


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
