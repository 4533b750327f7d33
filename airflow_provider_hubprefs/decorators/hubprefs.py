"""``@task.hubprefs_unsubscribe`` and ``@task.hubprefs_set_status``: a function that gives rows becomes a bulk run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.compat import TaskDecorator


def hubprefs_unsubscribe(
    python_callable: Callable[..., Any] | None = None, **arguments: Any
) -> TaskDecorator:
    """Make a task of a function: everybody it gives is opted out.

    The function returns or yields addresses, mappings or rows of a database, or returns a path (text, or a path object)
    or a list of path objects: what ``subscribers`` and ``source`` are to the operator. None of it is in an XCom, the
    DAG or a log, and neither are the function's arguments: they show as ``<private>``.

    The function is called once in each try, and once more after a wait in the triggerer. What it yields is kept
    encrypted until it ends, and sent then: if it raises, nothing was sent, and millions of rows need no memory. A retry
    resumes where the same rows come in the same order (``ORDER BY``); otherwise see ``on_changed_source``.

    :param python_callable: the function, which is not ``async``. Its arguments are as with ``@task``: results of
        earlier tasks, templates, names of Airflow's context; ``expand`` and ``partial`` work, too.
    :param arguments: of :class:`~airflow_provider_hubprefs.operators.bulk.HubPrefsBatchUnsubscribeOperator`, but for
        ``subscribers`` and ``source``.
    """
    return _decorator("UnsubscribeOperator", python_callable, arguments)


def hubprefs_set_status(python_callable: Callable[..., Any] | None = None, **arguments: Any) -> TaskDecorator:
    """Make a task of a function: everybody it gives gets a status. All else is as with :func:`hubprefs_unsubscribe`.

    :param python_callable: the function.
    :param arguments: of :class:`~airflow_provider_hubprefs.operators.bulk.HubPrefsBatchSetStatusOperator`.
    """
    return _decorator("SetStatusOperator", python_callable, arguments)


def _decorator(
    operator: str, function: Callable[..., Any] | None, arguments: dict[str, Any]
) -> TaskDecorator:
    from airflow_provider_hubprefs.decorators import _rows  # Airflow's part of it costs 5 ms

    outputs = arguments.pop("multiple_outputs", False)

    def decorate(function: Callable[..., Any]) -> Any:
        return _rows.RowsDecorator(
            function=function,
            operator_class=getattr(_rows, operator),
            multiple_outputs=outputs,
            kwargs=arguments,
        )

    return cast("TaskDecorator", decorate if function is None else decorate(function))
