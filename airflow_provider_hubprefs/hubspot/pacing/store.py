"""The pacers of a process: one for each ``budget_store`` and credential."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from airflow_provider_hubprefs.hubspot.pacing.fallback import FallbackPacer
from airflow_provider_hubprefs.hubspot.pacing.file import FilePacer
from airflow_provider_hubprefs.hubspot.pacing.pacers import Pacer, ProcessPacer

SEARCHES = 5
"""CRM searches a second."""

_pacers: dict[tuple[str, str], Pacer] = {}


def pacer_for(store: str, key: str) -> Pacer:
    """The one pacer of this process for a credential.

    :param store: ``process``; ``file`` or ``file:///folder`` for all processes of this machine (the default of
        connections); ``redis://host:port/db`` or ``rediss://`` for many machines (extra ``redis``).
    :param key: fingerprint of the credential: two connections with one token share a budget, two portals never.
    :raises ValueError: another store.
    :raises ModuleNotFoundError: Redis without its client.
    """
    if (store, key) not in _pacers:
        _pacers.setdefault((store, key), _make(store, key))  # atomic: all threads get the first one
    return _pacers[store, key]


def search_pacer(key: str) -> Pacer:
    """The one pacer of this process for a credential's CRM searches.

    They have a limit of their own, five a second for the whole account, which no header states (HubSpot's guide
    "Search the CRM"). Each process paces only its own searches: if several search, a 429 makes them wait.

    :param key: see :func:`pacer_for`.
    """
    if ("search", key) not in _pacers:
        _pacers.setdefault(("search", key), ProcessPacer(limit=SEARCHES, interval=1.0))
    return _pacers["search", key]


def _make(store: str, key: str) -> Pacer:
    scheme = store.partition(":")[0]
    if store == "process":
        return ProcessPacer()
    if scheme == "file":
        file = FilePacer(key, folder=_folder(store))
        return FallbackPacer(file, str(file.path))
    if scheme in {"redis", "rediss"} and store != scheme:
        return _redis(store, key)
    raise ValueError("budget_store: expected process, file, file:///a/folder or redis://host:port/db")


def _folder(store: str) -> Path | None:
    """The folder that a store names; None for the default one."""
    if store == "file":
        return None
    url = urlsplit(store)
    folder = Path(unquote(url.path))
    if url.netloc or url.query or url.fragment or not folder.is_absolute():
        raise ValueError(f"budget_store: expected file:///an/absolute/folder, got {store!r}")
    return folder


def _redis(store: str, key: str) -> Pacer:
    from airflow_provider_hubprefs.hubspot.pacing.redis import RedisPacer  # noqa: PLC0415 - an extra

    url = urlsplit(store)
    try:
        name = f"Redis at {url.hostname or 'localhost'}:{url.port or 6379}"
        return FallbackPacer(RedisPacer(store, key), name)
    except ValueError:
        # The URL may have a password in it.
        raise ValueError("budget_store: expected redis://[user:password@]host[:port][/db]") from None
