"""What a wait for an operation on one subscriber asks, and when it is over.

Tasks and triggers decide by it; nothing here sleeps or sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_hubprefs.bulk.send.guards import word_of
from airflow_provider_hubprefs.bulk.send.single import error_of
from airflow_provider_hubprefs.bulk.send.writes import opted_out_of
from airflow_provider_hubprefs.hubspot.api.answers import subscriber_key
from airflow_provider_hubprefs.hubspot.errors import BudgetWaitError, HubSpotError, ValidationError
from airflow_provider_hubprefs.hubspot.polling.question import Question
from airflow_provider_hubprefs.hubspot.privacy import mask, scrub, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.hubspot.api.calls import Call, Calls
    from airflow_provider_hubprefs.hubspot.api.models import Operation

KNOWN_STATUSES = frozenset({"PENDING", "PROCESSING", "CANCELED", "COMPLETE", "SUCCESS"})
EXPECTATIONS = ("opted_out", "SUBSCRIBED", "UNSUBSCRIBED")


@dataclass(frozen=True, slots=True, kw_only=True)
class PollResult:
    """What a poll's answer means for the wait.

    :param done: whether the wait is over.
    :param result: of the wait, without the address; None while it is not over.
    :param error: why it is over without a result: HubSpot canceled, and that is a failure.
    :param text: for the log.
    :param unknown_status: whether HubSpot returned an undocumented status.
    """

    done: bool
    result: dict[str, Any] | None = None
    error: HubSpotError | None = None
    text: str
    unknown_status: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationWait:
    """What is waited for.

    :param subscriber: normalised.
    :param subscription_id: polls read the status for it; None: they read the opt-out.
    :param business_unit_id: brand.
    :param expect: also wait until HubSpot shows this preference, one of :data:`EXPECTATIONS`.
    :param fail_on_canceled: whether CANCELED is an error, or a result.
    """

    subscriber: str
    subscription_id: int | None = None
    business_unit_id: int | None = None
    expect: str | None = None
    fail_on_canceled: bool = True

    def __repr__(self) -> str:
        return f"<Wait for {mask(self.subscriber)}>"

    def check(self) -> None:
        """Refuse arguments that cannot work.

        :raises ValidationError: names the argument.
        """
        if self.expect and self.expect not in EXPECTATIONS:
            raise ValidationError(
                f"expect: expected one of {', '.join(EXPECTATIONS)}, got {shown(self.expect)}"
            )
        if self.expect == "opted_out" and self.subscription_id is not None:
            raise ValidationError("expect='opted_out' is about everything: leave subscription_id out")
        if self.expect in {"SUBSCRIBED", "UNSUBSCRIBED"} and self.subscription_id is None:
            raise ValidationError(f"expect={self.expect!r}: expected a subscription_id with it, got none")

    @property
    def question(self) -> Question:
        """What polls ask.

        HubSpot has no endpoint for the operation itself (its OpenAPI documents show none); the answer about the
        subscriber has the operation's status.
        """
        about: Literal["opt_out", "statuses"] = "opt_out" if self.subscription_id is None else "statuses"
        return Question(about=about, business_unit_id=self.business_unit_id)

    def call(self, calls: Calls) -> Call[Operation[Any]]:
        """The call that asks about this subscriber alone."""
        return self.question.pair(calls).single(self.subscriber)

    def interpret(self, operation: Operation[Any]) -> PollResult:
        """What a poll's answer means."""
        mine = [
            one
            for one in operation.results
            if subscriber_key(one.subscriber) == subscriber_key(self.subscriber)
        ]
        result = self._result(operation, mine)
        if operation.canceled:
            error = error_of(operation) if self.fail_on_canceled else None
            return PollResult(done=True, result=None if error else result, error=error, text="CANCELED")
        opted_out = "opted_out" if result["opted_out"] else None
        seen = not self.expect or self.expect in {result["status"], opted_out}
        foreign = bool(operation.results) and not mine
        done = operation.ended and seen and not foreign
        unknown_status = operation.status not in KNOWN_STATUSES
        if foreign:
            text = "HubSpot answered about another subscriber; the wait goes on"
        elif unknown_status:
            text = f"HubSpot answered the unknown operation status {operation.status!r}; the wait goes on"
        else:
            missing = f", {self.expect} not seen yet" if operation.ended and not seen else ""
            text = f"{result['subscriber']}: operation {operation.status}{missing}"
        return PollResult(
            done=done, result=result if done else None, text=text, unknown_status=unknown_status
        )

    def tolerate(self, error: HubSpotError, *, failures: int, most: int) -> tuple[int, str]:
        """Tolerate a transient failure, unless there were too many in a row.

        :param failures: in a row before this one.
        :param most: failures in a row that are tolerated.
        :return: failures in a row now, and a text for the log.
        :raises HubSpotError: this one, where waiting cannot help or has not.
        """
        if isinstance(error, BudgetWaitError):
            return failures, str(error)  # asked late, as where many wait; the wait's own time-out bounds that
        if not error.retryable or failures >= most:
            raise error
        return failures + 1, f"{error} (failure {failures + 1} in a row, {most} tolerated)"

    def _result(self, operation: Operation[Any], results: Sequence[Any]) -> dict[str, Any]:
        opted_out: bool | None = None
        status: str | None = None
        if self.subscription_id is None:
            opted_out = opted_out_of(self.business_unit_id, results)
        else:
            found = {word_of(one.status) for one in results if one.subscription_id == self.subscription_id}
            status = found.pop() if len(found) == 1 else None
        return {
            "subscriber": mask(self.subscriber),
            "operation": operation.status,
            "opted_out": opted_out,
            "subscription_id": self.subscription_id,
            "status": status,
            "started_at": operation.started_at.isoformat() if operation.started_at else None,
            "completed_at": operation.completed_at.isoformat() if operation.completed_at else None,
            "errors": [
                {"category": error.category and scrub(error.category), "message": scrub(error.message or "")}
                for error in operation.errors
            ],
        }
