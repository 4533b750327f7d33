"""The operators of this package's task decorators: a function gives the rows of a bulk run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sized
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.arguments import PrivateValue, _has_jinja, _is_reference
from airflow_provider_hubprefs.compat import DecoratedOperator, TaskDecoratorBase
from airflow_provider_hubprefs.exceptions import HubPrefsFailException, airflow_errors
from airflow_provider_hubprefs.operators.bulk import (
    HubPrefsBatchSetStatusOperator,
    HubPrefsBatchUnsubscribeOperator,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_hubprefs.compat import Context


class RowsDecorator(TaskDecoratorBase):  # type: ignore[type-arg]
    def _expand(self, expand_input: Any, *, strict: bool) -> Any:
        _refuse_addresses([self.kwargs.get("op_kwargs"), expand_input.value])
        return super()._expand(expand_input, strict=strict)


class _FunctionArguments:
    """``op_args`` and ``op_kwargs``: Airflow renders them as it always does, and stores nothing of them.

    What the author wrote keeps its templates and references, which Airflow looks for; once rendered, all is hidden.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._slot = f"_private_{name}"

    def __get__(self, operator: Any, owner: type | None = None) -> Any:
        return self if operator is None else operator.__dict__.get(self._slot)

    def __set__(self, operator: Any, value: Any) -> None:
        kept: Any = PrivateValue(value)
        if self._slot not in operator.__dict__:
            # What a mapped task gets is rendered in part, and Airflow knows that part by its identity.
            mapped = getattr(operator, "_BaseOperator__from_mapped", False)
            kept = value if mapped else _each(_hidden, value)
        operator.__dict__[self._slot] = kept


class _RowsOperator(DecoratedOperator):
    """What both have in common; the bulk operator comes after it in the order of classes."""

    op_args = _FunctionArguments()
    op_kwargs = _FunctionArguments()
    subscribers: Any
    source: Any

    def __init__(self, *, python_callable: Callable[..., Any], **kwargs: Any) -> None:
        if inspect.iscoroutinefunction(python_callable) or inspect.isasyncgenfunction(python_callable):
            raise TypeError("async def: expected a plain function, which may call asyncio.run()")
        none: dict[str, Any] = dict.fromkeys(
            ("subscribers", "source", "sql", "sql_conn_id", "sql_parameters")
        )
        for given in none.keys() & set(kwargs):
            raise TypeError(f"{given}: expected nothing, because the function gives the rows, or their path")
        # Named here, so that default_args for other tasks do not give them.
        super().__init__(python_callable=python_callable, **none, **kwargs)

    def execute(self, context: Context) -> Any:
        """Call the function, and send its rows."""
        return self._execute(context)

    def _execute(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        bulk: Any = super()
        with airflow_errors():
            self.subscribers, self.source = PrivateValue(()), None
            bulk._begin()
            bulk._check_arguments()  # before a query that may take an hour
        self._take(self._called(context))
        return bulk._execute(context, event)

    def _called(self, context: Context) -> Any:
        function: Any = self.python_callable
        args, kwargs = _shown(self.op_args), _shown(self.op_kwargs)
        signature = inspect.signature(function)
        takes_all = any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())
        names = set(context) if takes_all else set(signature.parameters) & set(context)
        names -= set(signature.bind_partial(*args).arguments)
        return function(*args, **{**{name: context[name] for name in names}, **kwargs})  # type: ignore[literal-required]

    def _take(self, given: Any) -> None:
        from airflow_provider_hubprefs.bulk.source.errors import SourceError
        from airflow_provider_hubprefs.bulk.source.files import is_file
        from airflow_provider_hubprefs.bulk.source.kept import KeptRows

        if given is None:
            raise HubPrefsFailException(
                "the function returned nothing: expected rows or a path; where there are none, an empty list"
            )
        several = isinstance(given, list | tuple) and bool(given)
        if isinstance(given, str) or is_file(given) or (several and all(map(is_file, given))):
            self.subscribers, self.source = None, given
            return
        if isinstance(given, Iterable) and not isinstance(given, Sized):
            try:
                given = KeptRows(given)
            except SourceError as error:
                raise HubPrefsFailException(str(error), error=error) from None
        self.subscribers = PrivateValue(given)


_FIELDS = tuple(DecoratedOperator.template_fields)


class UnsubscribeOperator(_RowsOperator, HubPrefsBatchUnsubscribeOperator):
    custom_operator_name = "@task.hubprefs_unsubscribe"
    template_fields: Sequence[str] = (*_FIELDS, *HubPrefsBatchUnsubscribeOperator.template_fields)


class SetStatusOperator(_RowsOperator, HubPrefsBatchSetStatusOperator):
    custom_operator_name = "@task.hubprefs_set_status"
    template_fields: Sequence[str] = (*_FIELDS, *HubPrefsBatchSetStatusOperator.template_fields)


def _hidden(value: Any) -> Any:
    """Hide everything but what Airflow has to render: text with Jinja, and results of earlier tasks."""
    if _is_reference(value):
        _refuse_addresses(getattr(getattr(value, "_input", None), "value", None))  # of a mapped task group
        return value
    if isinstance(value, str) and _has_jinja(value):
        return value
    kept = _each(_hidden, value)
    inside = kept.values() if isinstance(kept, dict) else kept if kept is not value else ()
    return kept if any(not isinstance(one, PrivateValue) for one in inside) else PrivateValue(value)


def _shown(value: Any) -> Any:
    """What was hidden, as the function gets it."""
    return _shown(value.value) if isinstance(value, PrivateValue) else _each(_shown, value)


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """Change what is in a container; anything else stays as it is."""
    if type(value) is dict:
        return {name: change(one) for name, one in value.items()}
    return type(value)(map(change, value)) if type(value) in {list, tuple, set} else value


def _refuse_addresses(given: Any) -> None:
    """Refuse addresses that Airflow would store with the DAG.

    :raises ValueError: says what to do instead.
    """
    if isinstance(given, str) and "@" in given and "://" not in given and not _has_jinja(given):
        raise ValueError(
            "an address in partial() or expand() would be stored with the DAG, in Airflow's database. Give an earlier "
            "task's result or a template instead, or let the function look it up"
        )
    _each(_refuse_addresses, list(given.values()) if isinstance(given, dict) else given)
