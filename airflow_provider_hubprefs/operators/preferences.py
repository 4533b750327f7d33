"""One subscriber: set a status, or opt out of everything."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_hubprefs.arguments import (
    PrivateArgument,
    count,
    normalised_subscriber,
    optional,
    positive,
    text,
    value_of,
    yes_or_no,
)
from airflow_provider_hubprefs.compat import AirflowTaskTimeout
from airflow_provider_hubprefs.get_provider_info import CONN_ID
from airflow_provider_hubprefs.operators._waiting import POKE_INTERVAL, TIMEOUT, WaitingBase
from airflow_provider_hubprefs.task import DEFERRABLE, announced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from airflow_provider_hubprefs.arguments import Reader
    from airflow_provider_hubprefs.bulk.audit.recorder import AuditRecorder
    from airflow_provider_hubprefs.bulk.report.outcome import OutcomeName
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.compat import Context
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
    from airflow_provider_hubprefs.hubspot.errors import HubSpotError
    from airflow_provider_hubprefs.task_state import TaskState


class _OneSubscriberOperator(WaitingBase):
    """What both have in common: the private subscriber, the wait, the small result."""

    template_fields: Sequence[str] = ("subscriber", "hubprefs_conn_id", "api_version")
    subscriber = PrivateArgument()
    ui_color = "#ffe3d9"
    subscription_id: int | None = None

    @announced
    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Resume after the wait, in the worker or in the triggerer; ``event`` has its result."""
        from airflow_provider_hubprefs.exceptions import HubPrefsException
        from airflow_provider_hubprefs.hubspot.errors import OperationCanceledError
        from airflow_provider_hubprefs.triggers import events

        self.read_arguments()
        event = event or {}
        status = event.get("status")
        if status == events.EXECUTION_TIMEOUT:
            raise AirflowTaskTimeout
        if status == events.TIMEOUT:
            self._record(context, "unconfirmed")
            raise HubPrefsException(
                f"unconfirmed: HubSpot accepted the write and did not finish within the timeout of {self.timeout} s. A "
                "retry resumes the wait (Airflow 3.3; earlier versions write again, which does no harm)"
            )
        resumed = (_sent(context).load() or {}).get("resumed")
        if status in {events.SUCCESS, events.CANCELED}:
            _sent(context).clear()
        if status == events.CANCELED:
            # As without waiting: a retry writes again.
            said = event["error"]
            canceled = OperationCanceledError(said["message"], category=said["category"])
            self._record(context, "rejected", canceled)
            raise canceled
        found = events.result_of(event)
        if resumed and not self._is_as_wanted(found):
            self.log.info(
                "%s: what an earlier try wrote ended without effect; it is written again", found["subscriber"]
            )
            return self.execute(context)
        outcome: OutcomeName = "changed" if self._is_as_wanted(found) else "unconfirmed"
        return self._ended(context, found["subscriber"], outcome, found["operation"])

    @cached_property
    def _write(self) -> Write:
        """What is wanted."""
        raise NotImplementedError

    def _audit(self, context: Context) -> AuditRecorder | None:
        from airflow_provider_hubprefs.operators._audit import audit_of
        from airflow_provider_hubprefs.operators._files import folder_at

        return audit_of(self, context, self._hook, self._write, folder_at(None, self, context))

    def _record(self, context: Context, outcome: OutcomeName, error: HubSpotError | None = None) -> None:
        """Record what became of the subscriber, also in the audit, where the task has one."""
        from airflow_provider_hubprefs.bulk.report.outcome import Outcome, outcome_of_error
        from airflow_provider_hubprefs.bulk.source.row import Row

        self._known.update({"outcome": outcome, outcome: 1})
        if audit := self._audit(context):
            row = Row(1, normalised_subscriber(value_of(self.subscriber)))
            found = Outcome(row, outcome) if error is None else outcome_of_error(row, error, "rejected")
            audit.finish(map(str.encode, audit.lines([found])), {outcome: 1}, complete=True)
            self._known["audit_head"] = audit.head

    def _send(self, context: Context) -> dict[str, Any]:
        from airflow_provider_hubprefs.bulk.send.single import write_one
        from airflow_provider_hubprefs.hubspot.errors import OperationCanceledError
        from airflow_provider_hubprefs.hubspot.privacy import mask
        from airflow_provider_hubprefs.hubspot.transport.batches import REFUSALS

        hook, write = self._hook, self._write
        subscriber, waits = normalised_subscriber(value_of(self.subscriber)), self.wait_for_completion
        self._audit(context)  # finds what is wrong with it before anything is sent
        mine = _fingerprint(hook, write, subscriber)
        if waits and (sent := _sent(context).load()):
            if sent["write"] == mine:
                self.log.info("%s: an earlier try wrote it; the wait is resumed", mask(subscriber))
                _sent(context).save({**sent, "resumed": True})
                return self._wait(hook, subscriber, context)
            _sent(context).clear()
        try:
            outcome, operation = write_one(hook.client, write, subscriber, read_back=not waits)
        except (*REFUSALS, OperationCanceledError) as error:
            self._record(context, "rejected", error)
            raise
        if waits and outcome == "unconfirmed" and not operation.ended:
            self.log.info("%s: written (operation %s)", mask(subscriber), operation.status)
            _sent(context).save({"write": mine, "operation": operation.status})
            return self._wait(hook, subscriber, context)
        return self._ended(context, mask(subscriber), outcome, operation.status)

    def _wait(self, hook: HubPrefsHook, subscriber: str, context: Context) -> dict[str, Any]:
        """Wait until the operation is over."""
        from airflow_provider_hubprefs.triggers.operation import HubPrefsOperationTrigger

        trigger = HubPrefsOperationTrigger(
            encrypted=hook.encrypt_address(subscriber),
            subscription_id=self.subscription_id,
            **self.trigger_arguments(hook),
        )
        return self.execute_complete(context, self.wait_for(trigger, deferrable=self.deferrable))

    def _ended(
        self, context: Context, subscriber: str, outcome: OutcomeName, operation: str
    ) -> dict[str, Any]:
        """The result.

        :raises HubPrefsException: the write is unconfirmed, which is no success.
        """
        from airflow_provider_hubprefs.exceptions import HubPrefsException

        self.log.info("%s: %s (operation %s)", subscriber, outcome, operation)
        self._record(context, outcome)
        if outcome == "unconfirmed":
            waits = "" if self.wait_for_completion else "; wait_for_completion=True waits for it"
            raise HubPrefsException(
                f"unconfirmed: HubSpot accepted the write for {subscriber}, and does not show its effect (operation "
                f"{operation}). A retry writes again{waits}"
            )
        return self._result(subscriber, outcome, operation)

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the preference."""
        raise NotImplementedError

    def _is_as_wanted(self, found: Mapping[str, Any]) -> bool:
        """Whether the wait's result is what was wanted."""
        raise NotImplementedError

    def _result(self, subscriber: str, outcome: str, operation: str) -> dict[str, Any]:
        return {"subscriber": subscriber, "outcome": outcome, "operation": operation}


def _fingerprint(hook: HubPrefsHook, write: Write, subscriber: str) -> str:
    from airflow_provider_hubprefs.hubspot.privacy import fingerprint

    text = f"{hook.client.url} {subscriber} {sorted(write.arguments().items())}"
    return fingerprint(text, key=hook.client.auth.identity())


def _sent(context: Context) -> TaskState:
    """Where Airflow's task state store (3.3) keeps the write that was sent, until its operation has ended."""
    from airflow_provider_hubprefs.task_state import TaskState

    return TaskState(context, "hubprefs_write")


class HubPrefsSetStatusOperator(_OneSubscriberOperator):
    """Set one subscriber's status for one subscription. Its other parameters are those of :class:`WaitingBase`.

    A subscriber who has unsubscribed is never resubscribed, unless you set ``allow_resubscribe=True`` and give a
    ``legal_basis``. For that, the actual status is read first where ``status`` is not UNSUBSCRIBED; a subscriber who
    has the wanted status already is not written.

    Returns ``{"subscriber": <masked>, "outcome": "changed" | "unchanged", "operation": ...,
    "subscription_id": ..., "status": ...}``.

    :param subscriber: the address; may be a template or an earlier task's result. It is never stored.
    :param subscription_id: of one of the portal's active definitions. (templated)
    :param status: SUBSCRIBED, UNSUBSCRIBED or NOT_SPECIFIED. (templated)
    :param legal_basis: one of HubSpot's, such as ``CONSENT_WITH_NOTICE``; HubSpot asks for it, with an
        explanation, where the portal's data privacy settings are on. (templated)
    :param legal_basis_explanation: in words. (templated)
    :param allow_resubscribe: whether a subscriber who has unsubscribed may be resubscribed. (templated)
    :raises HubPrefsFailException: refused by the guard or by HubSpot; the text says by which and why.
    :raises HubPrefsException: it could not be done now.
    """

    template_fields: Sequence[str] = (
        *_OneSubscriberOperator.template_fields,
        "subscription_id",
        "status",
        "legal_basis",
        "legal_basis_explanation",
        "allow_resubscribe",
    )
    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        **_OneSubscriberOperator.ARGUMENTS,
        "subscription_id": positive,
        "status": text,
        "legal_basis": optional(text),
        "legal_basis_explanation": optional(text),
        "allow_resubscribe": optional(yes_or_no, default=False),
    }

    subscription_id: int
    status: str
    legal_basis: str | None
    legal_basis_explanation: str | None
    allow_resubscribe: bool

    def __init__(
        self,
        *,
        subscriber: Any,
        subscription_id: int | str,
        status: str,
        legal_basis: str | None = None,
        legal_basis_explanation: str | None = None,
        allow_resubscribe: bool | str = False,
        wait_for_completion: bool = True,
        deferrable: bool = DEFERRABLE,
        poke_interval: timedelta | float | str = POKE_INTERVAL,
        timeout: timedelta | float | str = TIMEOUT,
        hubprefs_conn_id: str = CONN_ID,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep_arguments(locals())
        self.subscriber = subscriber

    @announced
    def execute(self, context: Context) -> dict[str, Any]:
        """Set the status."""
        from airflow_provider_hubprefs.bulk.report.outcome import STATUS_UNKNOWN
        from airflow_provider_hubprefs.hubspot.errors import HubSpotError

        self._begin()
        try:
            return self._send(context)
        except HubSpotError as error:
            if error.category == STATUS_UNKNOWN or (error.permanent and error.status is not None):
                _check_subscription(self._hook, self.subscription_id)
            raise

    @cached_property
    def _write(self) -> Write:
        from airflow_provider_hubprefs.bulk.send.writes import SetStatus

        return SetStatus(
            self._hook.client.calls,
            subscription_id=self.subscription_id,
            status=self.status,
            legal_basis=self.legal_basis,
            legal_basis_explanation=self.legal_basis_explanation,
            allow_resubscribe=self.allow_resubscribe,
        )

    def _is_as_wanted(self, found: Mapping[str, Any]) -> bool:
        return bool(found["status"] == self.status)

    def _result(self, subscriber: str, outcome: str, operation: str) -> dict[str, Any]:
        result = super()._result(subscriber, outcome, operation)
        return {**result, "subscription_id": self.subscription_id, "status": self.status}


def _check_subscription(hook: HubPrefsHook, subscription_id: int) -> None:
    """Name the portal's subscriptions, as HubSpot's refusals do not; quiet where HubSpot does not list them."""
    from airflow_provider_hubprefs.hubspot.errors import HubSpotError, ValidationError

    try:
        hook.check_subscription(subscription_id)
    except HubSpotError as error:
        if isinstance(error, ValidationError) and error.status is None:
            raise


class HubPrefsUnsubscribeAllOperator(_OneSubscriberOperator):
    """Opt one subscriber out of everything, or of one brand. Its other parameters are those of :class:`WaitingBase`.

    Returns ``{"subscriber": <masked>, "outcome": "changed" | "unchanged", "operation": ...}``.

    :param subscriber: the address; may be a template or an earlier task's result. It is never stored.
    :param business_unit_id: brand; needed in portals with the Brands add-on, where 0 is the account's own. By
        default the connection's. (templated)
    :raises HubPrefsFailException: HubSpot refused it.
    :raises HubPrefsException: it could not be done now.
    """

    template_fields: Sequence[str] = (*_OneSubscriberOperator.template_fields, "business_unit_id")
    ARGUMENTS: ClassVar[Mapping[str, Reader]] = {
        **_OneSubscriberOperator.ARGUMENTS,
        "business_unit_id": optional(count),
    }

    def __init__(
        self,
        *,
        subscriber: Any,
        business_unit_id: int | str | None = None,
        wait_for_completion: bool = True,
        deferrable: bool = DEFERRABLE,
        poke_interval: timedelta | float | str = POKE_INTERVAL,
        timeout: timedelta | float | str = TIMEOUT,
        hubprefs_conn_id: str = CONN_ID,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep_arguments(locals())
        self.subscriber = subscriber

    @announced
    def execute(self, context: Context) -> dict[str, Any]:
        """Opt the subscriber out."""
        self._begin()
        return self._send(context)

    @cached_property
    def _write(self) -> Write:
        from airflow_provider_hubprefs.bulk.send.writes import UnsubscribeAll

        return UnsubscribeAll(self._hook.client.calls, business_unit_id=self._hook.business_unit_id)

    def _is_as_wanted(self, found: Mapping[str, Any]) -> bool:
        return bool(found["opted_out"])
