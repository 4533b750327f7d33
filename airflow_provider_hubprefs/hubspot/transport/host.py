"""Where the token may go: to HubSpot by https, or to this machine."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from airflow_provider_hubprefs.hubspot.errors import SettingsError

DEFAULT_HOST = "https://api.hubapi.com"
_HUBSPOT = re.compile(r"([a-z0-9-]+\.)*hubapi\.com", re.ASCII)
_LOOPBACK = re.compile(r"localhost|::1|127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}", re.ASCII)


def base_url(host: str | None) -> str:
    """Check where the token would go, and return scheme, host and port.

    A token leaves for HubSpot only (``*.hubapi.com``), by https; plain http is for loopback, where the
    simulator lives.

    :param host: ``api.hubapi.com``, ``https://api.hubapi.com``, ``http://127.0.0.1:8080`` or None.
    :raises SettingsError: a path, another scheme, another host.
    """
    given = (host or DEFAULT_HOST).strip()
    try:
        parts = urlsplit(given if "://" in given else f"https://{given}")
        name, port = parts.hostname or "", parts.port
    except ValueError:
        raise SettingsError(f"host: expected {DEFAULT_HOST}, got something that is no URL") from None
    if parts.username or parts.password:
        raise SettingsError(
            "host: expected no user or password in it; the token belongs in the field Token (the password)"
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise SettingsError(f"host: expected no path, query or fragment behind it; leave only {DEFAULT_HOST}")
    # The whole name is matched, since libraries disagree about where "evil.example\\.hubapi.com" leads.
    local = _LOOPBACK.fullmatch(name) is not None
    if not local and not _HUBSPOT.fullmatch(name):
        got = repr(name) if "." in name else "something else"  # perhaps a token in the wrong field
        raise SettingsError(
            f"host: expected HubSpot's ({DEFAULT_HOST}) or loopback, got {got}; the token is sent nowhere else"
        )
    if parts.scheme not in ({"http", "https"} if local else {"https"}):
        raise SettingsError(
            f"host: expected https (plain http for loopback only), got {parts.scheme}://{name}; "
            "the token would be readable on the way"
        )
    shown = f"[{name}]" if ":" in name else name
    usual = {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{shown}" + (f":{port}" if port and port != usual else "")


def is_loopback(url: str) -> bool:
    """Whether a URL made by :func:`base_url` is on this machine."""
    return _LOOPBACK.fullmatch(urlsplit(url).hostname or "") is not None


def budget_of(url: str) -> str:
    """Whose budget requests to a URL made by :func:`base_url` spend: HubSpot's, by whatever name, or a local port's."""
    parts = urlsplit(url)
    return f"loopback:{parts.port or parts.scheme}" if is_loopback(url) else "HubSpot"
