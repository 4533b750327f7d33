"""What the environment says about the way to HubSpot: proxies and certificates, by the same rules for both clients."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi

from airflow_provider_hubprefs.hubspot.transport.host import is_loopback


class TrustError(OSError):
    """The certificates to trust cannot be read."""


def proxy_for(url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name for a host; loopback has none.

    :param url: scheme and host.
    """
    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def ca_bundle() -> Path:
    """The certificates to trust: REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, or certifi's; a file or a folder."""
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return Path(named or certifi.where())


def trust() -> ssl.SSLContext:
    """A TLS context that trusts :func:`ca_bundle`.

    :raises TrustError: the bundle cannot be read.
    """
    bundle = ca_bundle()
    try:
        if bundle.is_dir():
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise TrustError(*error.args) from error
