"""One subscriber: set a status, or opt out of everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_hubprefs.arguments import depend_on, reveal_subscriber, whole_number, yes_or_no
from airflow_provider_hubprefs.exceptions import airflow_errors
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_hubprefs.bulk.writes import SetStatus, Write


class _OneSubscriberOperator(BaseOperator):
    """What both have in common: the connection, the private subscriber, the small result."""

    template_fields: Sequence[str] = ("hubprefs_conn_id", "api_version")
    ui_color = "#ffe3d9"

    def __init__(
        self,
        *,
        subscriber: Any,
        hubprefs_conn_id: str = HubPrefsHook.default_conn_name,
        api_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.subscriber = subscriber
        self.hubprefs_conn_id = hubprefs_conn_id
        self.api_version = api_version
        depend_on(self, subscriber)

    def _write(self, hook: HubPrefsHook, write: Write, context: Context) -> dict[str, Any]:
        from airflow_provider_hubprefs.bulk.single import write_one
        from airflow_provider_hubprefs.hubspot.privacy import mask

        subscriber = reveal_subscriber(self, context)
        outcome, operation = write_one(hook.client, write, subscriber)
        self.log.info("%s: %s (operation %s)", mask(subscriber), outcome, operation.status)
        return {"subscriber": mask(subscriber), "outcome": outcome, "operation": operation.status}


class HubPrefsSetStatusOperator(_OneSubscriberOperator):
    """Set one subscriber's status for one subscription.

    Nobody is subscribed by accident: where ``status`` is not UNSUBSCRIBED the actual status is read first. A
    subscriber who unsubscribed is only written with ``allow_resubscribe=True`` and a ``legal_basis``; one who
    has the status already is not written at all.

    Returns ``{"subscriber": <masked>, "outcome": "changed" | "unchanged" | "unconfirmed", "operation": ...,
    "subscription_id": ..., "status": ...}``.

    :param subscriber: the address; may be a template or an earlier task's result. It is never stored.
    :param subscription_id: of one of the portal's active definitions. (templated)
    :param status: SUBSCRIBED, UNSUBSCRIBED or NOT_SPECIFIED. (templated)
    :param legal_basis: one of HubSpot's, such as ``CONSENT_WITH_NOTICE``; HubSpot asks for it, with an
        explanation, where the portal's data privacy settings are on. (templated)
    :param legal_basis_explanation: in words. (templated)
    :param allow_resubscribe: whether subscribers who unsubscribed may be written. (templated)
    :param hubprefs_conn_id: connection. (templated)
    :param api_version: overrides the connection's. (templated)
    :raises HubPrefsFailException: refused, by the guard or by HubSpot; the text says by whom and why.
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

    def __init__(
        self,
        *,
        subscription_id: int | str,
        status: str,
        legal_basis: str | None = None,
        legal_basis_explanation: str | None = None,
        allow_resubscribe: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.subscription_id = subscription_id
        self.status = status
        self.legal_basis = legal_basis
        self.legal_basis_explanation = legal_basis_explanation
        self.allow_resubscribe = allow_resubscribe

    def execute(self, context: Context) -> dict[str, Any]:
        """Set the status."""
        from airflow_provider_hubprefs.hubspot.errors import NotFoundError, ValidationError

        with airflow_errors():
            hook = HubPrefsHook(self.hubprefs_conn_id, self.api_version)
            write = wanted_status(self, hook)
            subscription_id = whole_number("subscription_id", self.subscription_id)
            try:
                result = self._write(hook, write, context)
            except (ValidationError, NotFoundError) as error:
                if error.status is not None:
                    _check_subscription(hook, subscription_id)
                raise
        return {**result, "subscription_id": subscription_id, "status": self.status}


def wanted_status(operator: HubPrefsSetStatusOperator, hook: HubPrefsHook) -> SetStatus:
    """What an operator that sets a status wants: its arguments, once they are rendered.

    :raises ValidationError: one of them cannot be read.
    """
    from airflow_provider_hubprefs.bulk.writes import SetStatus

    return SetStatus(
        hook.client.calls,
        subscription_id=whole_number("subscription_id", operator.subscription_id),
        status=operator.status,
        legal_basis=operator.legal_basis or None,
        legal_basis_explanation=operator.legal_basis_explanation or None,
        allow_resubscribe=yes_or_no("allow_resubscribe", operator.allow_resubscribe),
    )


def _check_subscription(hook: HubPrefsHook, subscription_id: int) -> None:
    """Say which subscriptions there are, as HubSpot's refusals do not; quiet where that cannot be found out."""
    from airflow_provider_hubprefs.hubspot.errors import HubSpotError, ValidationError

    try:
        hook.check_subscription(subscription_id)
    except HubSpotError as error:
        if isinstance(error, ValidationError) and error.status is None:
            raise


class HubPrefsUnsubscribeAllOperator(_OneSubscriberOperator):
    """Opt one subscriber out of everything, or of one brand.

    Returns ``{"subscriber": <masked>, "outcome": "changed" | "unchanged" | "unconfirmed", "operation": ...}``.

    :param subscriber: the address; may be a template or an earlier task's result. It is never stored.
    :param business_unit_id: brand; needed in portals with the Brands add-on, where 0 is the account's own. By
        default the connection's. (templated)
    :param hubprefs_conn_id: connection. (templated)
    :param api_version: overrides the connection's; v3 has no opt-out. (templated)
    :raises HubPrefsFailException: HubSpot refused it.
    :raises HubPrefsException: it could not be done now.
    """

    template_fields: Sequence[str] = (*_OneSubscriberOperator.template_fields, "business_unit_id")

    def __init__(self, *, business_unit_id: int | str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.business_unit_id = business_unit_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Opt the subscriber out."""
        from airflow_provider_hubprefs.bulk.writes import UnsubscribeAll

        with airflow_errors():
            hook = HubPrefsHook(
                self.hubprefs_conn_id, self.api_version, business_unit_id=self.business_unit_id
            )
            write = UnsubscribeAll(hook.client.calls, business_unit_id=hook.business_unit_id)
            return self._write(hook, write, context)
