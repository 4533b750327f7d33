"""Paths that the DAG author gave, in any store that Airflow knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.source.files import Files
    from airflow_provider_hubprefs.compat import BaseOperator, Context, ObjectStoragePath
    from airflow_provider_hubprefs.storage import Place


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
    :raises SourceError: the provider of its store is not installed; the configured folder is relative; the name has an
        address in it.
    """
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder, name_of
    from airflow_provider_hubprefs.bulk.source.errors import SourceError
    from airflow_provider_hubprefs.compat import conf
    from airflow_provider_hubprefs.hubspot.privacy import scrub
    from airflow_provider_hubprefs.storage import is_whole, without_connection

    given: Any = output or conf.get("hubprefs", "output", fallback=None)
    if not given:
        return None
    if not output and not is_whole(given):
        raise SourceError(
            "[hubprefs] output is relative: each process of Airflow would take it from the folder that it "
            "was started in. Write the whole path. Nothing was sent"
        )
    if any(
        scrub(part) not in {part, "***"} for part in without_connection(str(given)).split("/") if "." in part
    ):
        raise SourceError(
            "the name of output has an address in it, and it is in logs, links and results: name the folder otherwise. "
            "Nothing was sent"
        )
    task = task_of(operator, context)
    folder = RunFolder(path_at(given)).path
    for part in (task["dag_id"], task["run_id"], task["task_id"]):
        folder /= name_of(part)
    return RunFolder(folder if task["map_index"] is None else folder / str(task["map_index"]))


def place_of_checkpoint(context: Context, folder: RunFolder | None, key: str) -> Place | None:
    """Return where a checkpoint is: Airflow's own store for a task's state (3.3), or the run's folder, or nowhere.

    :param key: in that store; a task may have several runs.
    """
    from airflow_provider_hubprefs.storage import ObjectPlace
    from airflow_provider_hubprefs.task_state import TaskState

    if (in_airflow := TaskState(context, key)).available:
        return in_airflow
    return None if folder is None else ObjectPlace(folder.checkpoint)


def task_of(operator: BaseOperator, context: Context) -> dict[str, Any]:
    """Return whose run it is, and who or what has triggered it.

    That is a user's name, masked where it is an address (Airflow 3.1 and later, where a person triggered it), or the
    type of the DAG run: ``scheduled``, ``manual``, ``backfill``, ``asset_triggered``.
    """
    from airflow_provider_hubprefs.hubspot.privacy import scrub

    ti: Any = context.get("ti")
    dag_run: Any = context.get("dag_run")
    map_index = getattr(ti, "map_index", None)
    kind = getattr(dag_run, "run_type", None)
    started_by = getattr(dag_run, "triggering_user_name", None) or getattr(kind, "value", kind)
    return {
        "dag_id": getattr(ti, "dag_id", None) or operator.dag_id,
        "run_id": getattr(ti, "run_id", None) or context.get("run_id") or "no_run",
        "task_id": operator.task_id,
        "map_index": None if map_index is None or map_index < 0 else map_index,
        "try_number": getattr(ti, "try_number", None),
        "started_by": None if started_by is None else scrub(str(started_by)),
    }
