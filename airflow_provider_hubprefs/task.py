"""What all operators and sensors have in common. What only a run needs is imported when it runs, not by a DAG file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_provider_hubprefs.arguments import PrivateArgument, _is_reference
from airflow_provider_hubprefs.compat import BaseOperator, conf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from airflow_provider_hubprefs.arguments import Reader
    from airflow_provider_hubprefs.compat import Context
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

    Method = TypeVar("Method", bound=Callable[..., Any])

DEFERRABLE = conf.getboolean("operators", "default_deferrable", fallback=False)


class Links:
    """Links of a class of operators: made when Airflow first asks, which a DAG file does not.

    :param name: of the links in :mod:`airflow_provider_hubprefs.links`.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, operator: Any, owner: type | None = None) -> Any:
        from airflow_provider_hubprefs import links

        return getattr(links, self._name)


class TaskBase(BaseOperator):
    """Base of the operators and sensors: reads their arguments, keeps addresses out of mapped tasks, has their lineage.

    Airflow wraps the constructor of each class that has one, or whose first base has another: so this class has none,
    and an operator has one, with all of its arguments.

    :cvar only_reads: whether the task writes nothing to HubSpot.
    """

    operator_extra_links: Any = Links("LINKS")
    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {}
    """The arguments, but for the private ones, with a reader for each."""
    only_reads = False
    hubprefs_conn_id: str
    api_version: str | None
    business_unit_id: int | str | None = None
    max_budget_share: float = 1.0
    _known: Any = MappingProxyType({})
    """What became of the rows, as far as it is known: fields of a report."""
    _written_to: Sequence[tuple[str, str]] = ()
    """Of an export: namespace and name of its file or table."""

    def keep_arguments(self, given: Mapping[str, Any]) -> None:
        """Keep what a constructor was given, as attributes.

        What Airflow does besides, where an attribute is set, is for attributes that change later, and makes an operator
        cost twice as much.

        :param given: the constructor's arguments; private ones are set one by one.
        """
        vars(self).update({name: given[name] for name in self.ARGUMENTS})

    def read_arguments(self) -> None:
        """Replace each rendered argument by what is meant; reading twice does no harm.

        :raises ValidationError: an argument is missing or cannot work; names it.
        """
        for name, read in self.ARGUMENTS.items():
            setattr(self, name, read(name, getattr(self, name)))

    @cached_property
    def _hook(self) -> HubPrefsHook:
        from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

        return HubPrefsHook(
            self.hubprefs_conn_id,
            self.api_version,
            business_unit_id=self.business_unit_id,
            settings=self._settings(),
            max_budget_share=self.max_budget_share,
        )

    def _settings(self) -> Mapping[str, float]:
        """Overrides of the connection's."""
        return {}

    @property
    def retry_policy(self) -> Any:
        """What the DAG author gave, or else this package's where Airflow has policies; made when a task has failed."""
        from airflow_provider_hubprefs.retry_policy import default_policy

        if vars(self).get("retry_policy") is None:
            vars(self)["retry_policy"] = default_policy()
        return vars(self)["retry_policy"]

    @retry_policy.setter
    def retry_policy(self, policy: Any) -> None:
        vars(self)["retry_policy"] = policy

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Begin a mapped task. Airflow stores what mapped tasks are given, so addresses are refused in it.

        :raises ValueError: a private argument is given an address itself.
        """
        found = {name: getattr(cls, name, None) for name in dir(cls)}
        private = {name: one for name, one in found.items() if isinstance(one, PrivateArgument)}
        for name, argument in private.items():
            argument.refuse_literal(kwargs.get(name), "partial()")
        return _Partial(super().partial(**kwargs), private)

    def lineage_inputs(self) -> Iterable[tuple[str, str]]:
        """Namespace and name of each data set that is read, besides HubSpot's."""
        from airflow_provider_hubprefs.lineage import datasets_of

        source = getattr(self, "source", None)
        return [] if source is None else datasets_of(source)

    def get_openlineage_facets_on_start(self) -> Any:
        """What is known before the task has looked anything up."""
        from airflow_provider_hubprefs.lineage import lineage_of

        return lineage_of(self)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """All that is known, also where the task has failed."""
        from airflow_provider_hubprefs.lineage import lineage_of

        return lineage_of(self, ended=True)

    get_openlineage_facets_on_failure = get_openlineage_facets_on_complete


class _Partial:
    """A mapped task that has begun; see :meth:`TaskBase.partial`.

    :param partial: Airflow's own.
    :param private: the private arguments, by name.
    """

    def __init__(self, partial: Any, private: Mapping[str, PrivateArgument]) -> None:
        self._partial = partial
        self._private = private

    def __getattr__(self, name: str) -> Any:
        return getattr(self._partial, name)

    def expand(self, **mapped: Any) -> Any:
        """Airflow's ``expand``."""
        self._refuse(mapped)
        return self._partial.expand(**mapped)

    def expand_kwargs(self, kwargs: Any, **more: Any) -> Any:
        """Airflow's ``expand_kwargs``."""
        for one in () if _is_reference(kwargs) else kwargs:
            if isinstance(one, Mapping):
                self._refuse({name: [value] for name, value in one.items()})
        return self._partial.expand_kwargs(kwargs, **more)

    def _refuse(self, mapped: Mapping[str, Any]) -> None:
        for name, argument in self._private.items():
            argument.refuse_mapped(mapped.get(name))


def announced(method: Method) -> Method:
    """Push a task's links and its XCom ``hubprefs_report`` before a method begins, and what is known when it ends.

    They are pushed however it ends, and also with ``do_xcom_push=False``, which is about results: without them there
    would be no links. Nothing is pushed where there is no task instance. The method adds to ``self._known``, of which
    the lineage is made as well. What it raises is turned into Airflow's errors by
    :func:`~airflow_provider_hubprefs.exceptions.airflow_errors`.

    :param method: ``execute`` or the like; its first argument is the context.
    """

    @wraps(method)
    def inner(self: Any, context: Context, *args: Any, **kwargs: Any) -> Any:
        from airflow_provider_hubprefs.links import run_announced

        if getattr(self, "_announcing", False):  # execute_complete, called by execute
            return method(self, context, *args, **kwargs)
        return run_announced(self, method, context, *args, **kwargs)

    return cast("Method", inner)
