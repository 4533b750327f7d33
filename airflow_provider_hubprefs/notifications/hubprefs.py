"""What became of a DAG run's rows, in a sentence for each bulk run, for any of Airflow's notifiers."""

from __future__ import annotations

import asyncio
import copy
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.compat import BaseNotifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_hubprefs.compat import Context


class HubPrefsNotifier(BaseNotifier):
    """Says what became of the rows of a DAG run's bulk runs, and passes that on to another notifier.

    For ``on_failure_callback``, ``on_success_callback`` and the like, of tasks and DAGs, and for deadlines
    (``AsyncCallback(HubPrefsNotifier, kwargs={...})``, in the triggerer, or ``SyncCallback``). It reads the reports in
    the runs' ``output`` folder, also while the runs go on; they name no address. The message is logged, and in the
    other notifier's templates it is ``{{ hubprefs }}``: ``HubPrefsNotifier(SlackNotifier(text="{{ hubprefs }}"))``.

    :param notifier: the other notifier; where it is stored with the DAG, as a deadline's is, its import path, such as
        ``airflow.providers.slack.notifications.slack.SlackNotifier``. None: the log alone.
    :param notifier_kwargs: its arguments, where ``notifier`` is a path.
    :param output: as the operators' ``output``; by default ``[hubprefs] output`` of Airflow's configuration.
    :param context: Airflow's, which gives it to a deadline's callback.
    """

    def __init__(
        self,
        notifier: BaseNotifier | str | None = None,
        *,
        notifier_kwargs: Mapping[str, Any] | None = None,
        output: Any = None,
        context: Context | None = None,
    ) -> None:
        super().__init__()
        self.notifier = notifier
        self.notifier_kwargs = notifier_kwargs or {}
        self.output = output
        self.context: Any = context or {}

    def notify(self, context: Context) -> None:
        """Log the message, and have the other notifier send it."""
        other, passed = self._other(context)
        if other is not None:
            other(passed)

    async def async_notify(self, context: Context) -> None:
        """The same in an event loop, which it does not block."""
        other, passed = await asyncio.to_thread(self._other, context)
        if other is None or type(other).async_notify is BaseNotifier.async_notify:
            await asyncio.to_thread(other or (lambda _: None), passed)
        else:
            other.context = passed
            await other

    def _other(self, context: Any) -> tuple[Any, dict[str, Any]]:
        from airflow_provider_hubprefs.hubspot.privacy import scrub

        try:
            message = "\n".join(self._lines(context))
        except Exception as error:  # noqa: BLE001 - a message must go out all the same
            message = f"the reports cannot be read ({type(error).__name__}: {error})"
        message = scrub(message)
        self.log.info("%s", message)
        other: Any = copy.copy(self.notifier)  # rendering its templates changes it
        if isinstance(other, str):
            module, _, name = other.rpartition(".")
            other = getattr(import_module(module), name)(**self.notifier_kwargs)
        return other, {**context, "hubprefs": message}

    def _lines(self, context: Mapping[str, Any]) -> Iterator[str]:
        import msgspec

        from airflow_provider_hubprefs.bulk.report.folder import name_of
        from airflow_provider_hubprefs.bulk.report.words import last_line
        from airflow_provider_hubprefs.compat import conf
        from airflow_provider_hubprefs.operators._files import path_at

        dag_run = context.get("dag_run") or context.get("ti")
        if not isinstance(dag_run, dict):  # as a deadline's callback gets it
            dag_run = {name: getattr(dag_run, name) for name in ("dag_id", "run_id")}
        output = self.output or conf.get("hubprefs", "output", fallback="")
        if not output:
            raise ValueError(
                "no folder: expected output= here, or [hubprefs] output of Airflow's configuration"
            )
        run_id = dag_run.get("run_id") or dag_run["dag_run_id"]
        folder: Any = path_at(output) / name_of(dag_run["dag_id"]) / name_of(run_id)
        paths = sorted(folder.glob("**/report.json"), key=str)
        if not paths:
            yield f"{dag_run['dag_id']}: no bulk run has written a report to {folder}"
        for path in paths:
            task = "/".join((dag_run["dag_id"], *path.parent.parts[len(folder.parts) :]))
            try:
                line = last_line(msgspec.json.decode(path.read_bytes(), type=dict), hint=str(path))
            except Exception as error:  # noqa: BLE001 - one report that is broken hides no other
                line = f"its report cannot be read ({type(error).__name__}): {path}"
            yield f"{task}: {line}"
