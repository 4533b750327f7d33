"""Wait until HubSpot is done with an operation."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_hubprefs.arguments import depend_on, reveal_subscriber, whole_number
from airflow_provider_hubprefs.exceptions import HubPrefsFailException, airflow_errors
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_hubprefs.hubspot.errors import HubSpotError
    from airflow_provider_hubprefs.hubspot.models import Operation

KNOWN_STATUSES = frozenset({"PENDING", "PROCESSING", "CANCELED", "COMPLETE"})
EXPECTATIONS = ("opted_out", "SUBSCRIBED", "UNSUBSCRIBED")
_RETRY_TOTAL = 30.0
"""Seconds; a poll that fails is followed by another, so its own retries may end early."""
_FAILURES_KEY = "hubprefs_transient_failures"


class HubPrefsOperationSensor(BaseSensorOperator):
    """Wait until the operation on one subscriber is COMPLETE or CANCELED.

    HubSpot has no endpoint for the operation itself (its OpenAPI documents show none): what is asked is the
    subscriber's opt-out, or its statuses where a ``subscription_id`` is given, whose answer carries the
    operation's status. A status HubSpot adds later is logged and waited on.

    Returns ``{"subscriber": <masked>, "operation": "COMPLETE" | "CANCELED", "opted_out": ..., "subscription_id":
    ..., "status": ..., "started_at": ..., "completed_at": ..., "errors": [...]}``.

    :param subscriber: the address; may be a template or an earlier task's result. It is never stored.
    :param subscription_id: ask for the status for this subscription rather than for the opt-out. (templated)
    :param business_unit_id: brand; by default the connection's. (templated)
    :param expect: also wait until the preference itself is seen: ``"opted_out"``, or with a
        ``subscription_id`` ``"SUBSCRIBED"`` or ``"UNSUBSCRIBED"``. (templated)
    :param fail_on_canceled: whether CANCELED fails the task, or is a result to branch on.
    :param max_transient_failures: so many polls in a row may fail for reasons that pass (time-outs, 5xx, 429)
        before the task does. A poll retries by itself for as long as
        ``poke_interval``, 30 s at most.
    :param hubprefs_conn_id: connection. (templated)
    :param api_version: overrides the connection's. (templated)
    :raises HubPrefsFailException: CANCELED, or something no waiting helps against.
    :raises HubPrefsException: too many failures in a row, or the account's day is used up.
    """

    template_fields: Sequence[str] = (
        "subscription_id",
        "business_unit_id",
        "expect",
        "hubprefs_conn_id",
        "api_version",
    )
    ui_color = "#ffe8a3"

    def __init__(
        self,
        *,
        subscriber: Any,
        subscription_id: int | str | None = None,
        business_unit_id: int | str | None = None,
        expect: Literal["opted_out", "SUBSCRIBED", "UNSUBSCRIBED"] | str | None = None,
        fail_on_canceled: bool = True,
        max_transient_failures: int = 5,
        hubprefs_conn_id: str = HubPrefsHook.default_conn_name,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.subscriber = subscriber
        self.subscription_id = subscription_id
        self.business_unit_id = business_unit_id
        self.expect = expect
        self.fail_on_canceled = fail_on_canceled
        self.max_transient_failures = max_transient_failures
        self.hubprefs_conn_id = hubprefs_conn_id
        self.api_version = api_version
        self._failures_here = 0
        depend_on(self, subscriber)

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once."""
        from airflow_provider_hubprefs.hubspot.errors import HubSpotError, NotFoundError

        with airflow_errors():
            self._check_arguments()
            subscriber = reveal_subscriber(self, context)
            try:
                operation = self._ask(subscriber)
            except NotFoundError:
                if not self.expect:
                    raise
                self.log.info("HubSpot does not know the subscriber yet")
                return PokeReturnValue(is_done=False)
            except HubSpotError as error:
                self._tolerate(error, context)
                return PokeReturnValue(is_done=False)
            self._remember_failures(0, context)
            return self._judge(subscriber, operation)

    @cached_property
    def _hook(self) -> HubPrefsHook:
        return HubPrefsHook(
            self.hubprefs_conn_id,
            self.api_version,
            business_unit_id=self.business_unit_id,
            settings={"retry_total": min(_RETRY_TOTAL, self.poke_interval)},
        )

    def _check_arguments(self) -> None:
        from airflow_provider_hubprefs.hubspot.errors import ValidationError

        if self.expect and self.expect not in EXPECTATIONS:
            raise ValidationError(f"expect: expected one of {', '.join(EXPECTATIONS)}, got {self.expect!r}")
        if self.expect == "opted_out" and self.subscription_id is not None:
            raise ValidationError("expect='opted_out' is about everything: leave subscription_id out")
        if self.expect in {"SUBSCRIBED", "UNSUBSCRIBED"} and self.subscription_id is None:
            raise ValidationError(f"expect={self.expect!r}: expected a subscription_id with it, got none")
        if self.subscription_id is not None:
            whole_number("subscription_id", self.subscription_id)

    def _ask(self, subscriber: str) -> Operation[Any]:
        if self.subscription_id is None:
            return self._hook.get_unsubscribe_all(subscriber)
        return self._hook.get_statuses(subscriber)

    def _judge(self, subscriber: str, operation: Operation[Any]) -> PokeReturnValue:
        from airflow_provider_hubprefs.bulk.single import error_of

        result = self._result(subscriber, operation)
        if operation.canceled:
            if self.fail_on_canceled:
                # Final for whoever waits: soft_fail skips, and a retry would only wait for the same.
                error = error_of(operation)
                raise HubPrefsFailException(str(error), error=error)
            return PokeReturnValue(is_done=True, xcom_value=result)
        seen = not self.expect or self.expect in {
            result["status"],
            "opted_out" if result["opted_out"] else None,
        }
        done = operation.complete and seen
        if operation.status not in KNOWN_STATUSES:
            self.log.warning("HubSpot answered the unknown operation status %r; waiting on", operation.status)
        elif not done:
            missing = f", {self.expect} not seen yet" if operation.complete else ""
            self.log.info("%s: operation %s%s", result["subscriber"], operation.status, missing)
        return PokeReturnValue(is_done=done, xcom_value=result if done else None)

    def _result(self, subscriber: str, operation: Operation[Any]) -> dict[str, Any]:
        from airflow_provider_hubprefs.bulk.writes import UnsubscribeAll
        from airflow_provider_hubprefs.hubspot.privacy import mask, scrub

        opted_out: bool | None = None
        subscription_id: int | None = None
        status: str | None = None
        if self.subscription_id is None:
            calls = self._hook.client.calls
            wanted = UnsubscribeAll(calls, business_unit_id=self._hook.business_unit_id)
            opted_out = wanted.is_so(operation.results)
        else:
            subscription_id = whole_number("subscription_id", self.subscription_id)
            mine = [one.status for one in operation.results if one.subscription_id == subscription_id]
            status = mine[0] if mine else None
        return {
            "subscriber": mask(subscriber),
            "operation": operation.status,
            "opted_out": opted_out,
            "subscription_id": subscription_id,
            "status": status,
            "started_at": operation.started_at.isoformat() if operation.started_at else None,
            "completed_at": operation.completed_at.isoformat() if operation.completed_at else None,
            "errors": [
                {"category": error.category and scrub(error.category), "message": scrub(error.message or "")}
                for error in operation.errors
            ],
        }

    def _tolerate(self, error: HubSpotError, context: Context) -> None:
        """Wait on after a failure that passes, unless there were too many in a row."""
        if not error.retryable:
            raise error
        failures = self._failures(context) + 1
        if failures > self.max_transient_failures:
            raise error
        self._remember_failures(failures, context)
        self.log.warning(
            "%s (failure %d in a row, %d tolerated)", error, failures, self.max_transient_failures
        )

    # In reschedule mode every poke is a new process: the count is kept where Airflow has a place for it (3.3).

    def _failures(self, context: Context) -> int:
        store = _task_state_store(context)
        return int(store.get(_FAILURES_KEY, 0)) if store is not None else self._failures_here

    def _remember_failures(self, failures: int, context: Context) -> None:
        if failures == self._failures_here == 0 and not self.reschedule:
            return
        self._failures_here = failures
        if (store := _task_state_store(context)) is not None and store.get(_FAILURES_KEY, 0) != failures:
            store.set(_FAILURES_KEY, failures)


def _task_state_store(context: Context) -> Any:
    return context.get("task_state_store")
