"""Paths that the DAG author gave, in any store that Airflow knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.source.files import Files
    from airflow_provider_hubprefs.compat import ObjectStoragePath


def path_at(path: str | ObjectStoragePath) -> ObjectStoragePath:
    """Return a path to read from.

    :raises SourceError: the provider of its store is not installed.
    """
    from airflow_provider_hubprefs.bulk.source.errors import SourceError
    from airflow_provider_hubprefs.compat import ObjectStoragePath

    try:
        found = ObjectStoragePath(path)
        found.fs  # noqa: B018 - Airflow looks for the store only when it is first used
    except ValueError as error:
        raise SourceError(f"{error}: is the Airflow provider of that store installed?") from error
    return found


def files_at(source: Any) -> Files:
    """Return the files to read from, wherever they are.

    :param source: a path, or an iterable of paths; each may be of a folder, or have wildcards.
    :raises SourceError: the provider of a store is not installed.
    """
    from airflow_provider_hubprefs.bulk.source.files import Files, is_file

    paths: list[Any] = [source] if isinstance(source, str) or is_file(source) else list(source)
    return Files([path_at(path) for path in paths])


def file_at(path: str | ObjectStoragePath | None) -> Any:
    """Return a path to write to; folders of the local file system are made."""
    if not path:
        return None
    target = path_at(path)
    if target.protocol in {"", "file", "local"}:
        target.parent.mkdir(parents=True, exist_ok=True)
    return target
