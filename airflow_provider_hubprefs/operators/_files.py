"""Paths that the DAG author gave, in any store that Airflow knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.source.files import Files
    from airflow_provider_hubprefs.compat import BaseOperator, Context, ObjectStoragePath


def path_at(path: str | ObjectStoragePath) -> ObjectStoragePath:
    """Return a path to read from.

    :raises SourceError: the provider of its store is not installed.
    """
    from airflow_provider_hubprefs.bulk.source.errors import SourceError
    from airflow_provider_hubprefs.compat import ObjectStoragePath

    try:
        # One without a protocol cannot be made of itself.
        found = path if isinstance(path, ObjectStoragePath) else ObjectStoragePath(path)
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


def folder_at(output: Any, operator: BaseOperator, context: Context) -> RunFolder | None:
    """Return the folder of a task's run: its DAG, run, task and map index below the folder that the author named.

    :param output: that folder; nothing: ``[hubprefs] output`` of Airflow's configuration.
    :return: None where neither names one.
    :raises SourceError: the provider of its store is not installed.
    """
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder, name_of
    from airflow_provider_hubprefs.compat import conf

    given: Any = output or conf.get("hubprefs", "output", fallback=None)
    if not given:
        return None
    ti: Any = context.get("ti")
    run_id = getattr(ti, "run_id", None) or context.get("run_id") or "no_run"
    folder = RunFolder(path_at(given)).path
    for part in (getattr(ti, "dag_id", None) or operator.dag_id, run_id, operator.task_id):
        folder /= name_of(part)
    map_index = getattr(ti, "map_index", None)
    return RunFolder(folder if map_index is None or map_index < 0 else folder / str(map_index))
