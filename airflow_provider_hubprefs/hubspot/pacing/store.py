"""The pacers of a process: one for each ``budget_store``, credential and share."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from airflow_provider_hubprefs.hubspot.pacing.file import FileStore
from airflow_provider_hubprefs.hubspot.pacing.pacers import Pacer, ProcessPacer, SharePacer
from airflow_provider_hubprefs.hubspot.pacing.shared import SharedPacer

SEARCHES = 5
"""CRM searches a second."""

_pacers: dict[tuple[object, ...], Pacer] = {}


def pacer_for(store: str, key: str, share: float = 1.0) -> Pacer:
    """The one pacer of this process for a share of a credential's budget.

    :param store: ``process``; ``file`` for all processes of this user on this machine (the default of connections);
        ``file:///folder`` for all of this machine that may write to the folder, see :class:`~.file.FileStore`;
        ``redis://host:port/db`` or ``rediss://`` for many machines (extra ``redis``).
    :param key: fingerprint of the credential: two connections with one token share a budget, two portals never.
    :param share: more than 0, at most 1: of the budget, for all of this process that name the same share.
    :raises ValueError: another store or share.
    :raises ModuleNotFoundError: Redis without its client.
    """
    if (store, key, share) not in _pacers:
        made = _make(store, key) if share == 1 else SharePacer(pacer_for(store, key), share)
        _pacers.setdefault((store, key, share), made)  # atomic: all threads get the first one
    return _pacers[store, key, share]


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
        return SharedPacer(FileStore(key, folder=_folder(store)))
    if scheme in {"redis", "rediss"} and store != scheme:
        from airflow_provider_hubprefs.hubspot.pacing.redis import RedisStore  # noqa: PLC0415 - an extra

        try:
            return SharedPacer(RedisStore(store, key))
        except ValueError:
            # The URL may have a password in it.
            raise ValueError("budget_store: expected redis://[user:password@]host[:port][/db]") from None
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
