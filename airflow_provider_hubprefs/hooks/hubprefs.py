"""The hook: an Airflow connection becomes a client, and every endpoint of the API a method."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.compat import BaseHook, get_async_connection
from airflow_provider_hubprefs.get_provider_info import CONN_ID, CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from typing import TypeVar

    from airflow_provider_hubprefs.compat import Connection
    from airflow_provider_hubprefs.hubspot.api.calls import Call
    from airflow_provider_hubprefs.hubspot.api.contacts import OptOut
    from airflow_provider_hubprefs.hubspot.api.models import (
        Definition,
        LegalBasis,
        Operation,
        PreferenceLinks,
        StatusChange,
        StatusName,
        SubscriberStatuses,
        SubscriberWideStatuses,
        SubscriptionStatus,
        WideStatus,
    )
    from airflow_provider_hubprefs.hubspot.transport.aio import AsyncClient
    from airflow_provider_hubprefs.hubspot.transport.client import Client

    C = TypeVar("C", Client, AsyncClient)
    T = TypeVar("T")


class HubPrefsHook(BaseHook):
    """Talk to HubSpot's communication preferences, from a task or an operator.

    Its methods block, retry what passes (see :mod:`~airflow_provider_hubprefs.hubspot.transport.retry`) and raise the
    errors of :mod:`airflow_provider_hubprefs.hubspot.errors`. One hook may be used by many threads. A task may return
    their answers: XCom gets plain data, with addresses masked.

    .. code-block:: python

        @task
        def count_subscriptions() -> int:
            return len(HubPrefsHook().get_definitions().results)

    :param hubprefs_conn_id: connection of type ``hubprefs``: the password is the token of a private app or a
        service key; OAuth apps have client_id, client_secret and refresh_token in the extra instead.
    :param api_version: ``v4`` or ``YYYY-MM``; by default the connection's, or 2026-09.
    :param business_unit_id: brand; by default the connection's, or none.
    :param settings: overrides of the connection's time-outs and limits, by the names of
        :class:`~airflow_provider_hubprefs.hubspot.transport.settings.Settings`.
    :param max_budget_share: so much of the account's requests for this hook, at most; more than 0, at most 1.
    """

    conn_name_attr = "hubprefs_conn_id"
    default_conn_name = CONN_ID
    conn_type = "hubprefs"
    hook_name = "HubSpot Communication Preferences"

    def __init__(
        self,
        hubprefs_conn_id: str = default_conn_name,
        api_version: str | None = None,
        *,
        business_unit_id: int | str | None = None,
        settings: Mapping[str, float] | None = None,
        max_budget_share: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hubprefs_conn_id = hubprefs_conn_id
        self._api_version = api_version
        self._business_unit_id = business_unit_id
        self._settings = dict(settings or {})
        self._max_budget_share = max_budget_share

    def __getstate__(self) -> dict[str, Any]:
        """The arguments: a copy, or the same hook in another process, makes its own client."""
        made = {name for name in vars(self) if isinstance(getattr(type(self), name, None), cached_property)}
        return {name: value for name, value in vars(self).items() if name not in made}

    @cached_property
    def connection(self) -> Connection:
        """The connection, fetched once."""
        return self.get_connection(self.hubprefs_conn_id)

    @cached_property
    def client(self) -> Client:
        """The client of this connection; its session and its token live as long as the hook.

        :raises SettingsError: something in the connection cannot work; the text names it.
        """
        from airflow_provider_hubprefs.hubspot.transport.client import Client

        return self._make_client(
            Client, self.connection, self._fields, budget_connection=self._budget_connection
        )

    @cached_property
    def business_unit_id(self) -> int | None:
        """The brand that methods use unless they are given another.

        :raises SettingsError: no whole number.
        """
        from airflow_provider_hubprefs.hooks.connection import brand

        given = brand(self._business_unit_id)
        return brand(self._fields.get("business_unit_id")) if given is None else given

    def get_conn(self) -> Client:
        """Return the client."""
        return self.client

    def close(self) -> None:
        """Close the connections that are kept open. The hook can be used again."""
        if "client" in self.__dict__:
            self.client.close()

    # -- every endpoint of the API --------------------------------------------------------------------------

    def get_definitions(
        self, *, business_unit_id: int | None = None, include_translations: bool = False
    ) -> Operation[Definition]:
        """List the portal's subscription types.

        :param business_unit_id: only those of this brand.
        :param include_translations: with names in other languages.
        """
        return self._send(
            self.client.calls.get_definitions(
                business_unit_id=self._brand(business_unit_id), include_translations=include_translations
            )
        )

    def generate_links(
        self,
        subscriber: str,
        *,
        subscription_id: int | None = None,
        language: str | None = None,
        business_unit_id: int | None = None,
    ) -> PreferenceLinks:
        """Make links to a subscriber's own preference pages.

        Anyone with such a link can change the preferences: treat it as a secret, also in XComs.
        """
        return self._send(
            self.client.calls.generate_links(
                subscriber,
                subscription_id=subscription_id,
                language=language,
                business_unit_id=self._brand(business_unit_id),
            )
        )

    def get_statuses(
        self, subscriber: str, *, business_unit_id: int | None = None
    ) -> Operation[SubscriptionStatus]:
        """Read one subscriber's status for every subscription."""
        return self._send(
            self.client.calls.get_statuses(subscriber, business_unit_id=self._brand(business_unit_id))
        )

    def set_status(
        self,
        subscriber: str,
        subscription_id: int,
        status: StatusName | str,
        *,
        legal_basis: LegalBasis | str | None = None,
        legal_basis_explanation: str | None = None,
    ) -> Operation[SubscriptionStatus]:
        """Set one subscriber's status for one subscription.

        It writes without looking first: the guard against subscribing by accident is in the operators.
        """
        return self._send(
            self.client.calls.set_status(
                subscriber,
                subscription_id,
                status,
                legal_basis=legal_basis,
                legal_basis_explanation=legal_basis_explanation,
            )
        )

    def get_unsubscribe_all(
        self, subscriber: str, *, business_unit_id: int | None = None
    ) -> Operation[WideStatus]:
        """Read one subscriber's opt-outs. No results: not opted out."""
        return self._send(
            self.client.calls.get_unsubscribe_all(subscriber, business_unit_id=self._brand(business_unit_id))
        )

    def unsubscribe_all(
        self, subscriber: str, *, business_unit_id: int | None = None
    ) -> Operation[SubscriptionStatus]:
        """Opt one subscriber out of everything, or of one brand."""
        return self._send(
            self.client.calls.unsubscribe_all(subscriber, business_unit_id=self._brand(business_unit_id))
        )

    def batch_get_statuses(
        self, subscribers: Sequence[str], *, business_unit_id: int | None = None
    ) -> Operation[SubscriberStatuses]:
        """Read the statuses of many subscribers, by one request."""
        return self._send(
            self.client.calls.batch_get_statuses(subscribers, business_unit_id=self._brand(business_unit_id))
        )

    def batch_set_statuses(self, changes: Sequence[StatusChange]) -> Operation[SubscriptionStatus]:
        """Set many statuses, by one request. A success can carry errors: look at ``errors``."""
        return self._send(self.client.calls.batch_set_statuses(changes))

    def batch_unsubscribe_all(
        self, subscribers: Sequence[str], *, business_unit_id: int | None = None
    ) -> Operation[SubscriberStatuses]:
        """Opt many subscribers out, by one request. A success can carry errors: look at ``errors``."""
        return self._send(
            self.client.calls.batch_unsubscribe_all(
                subscribers, business_unit_id=self._brand(business_unit_id)
            )
        )

    def batch_get_unsubscribe_all(
        self, subscribers: Sequence[str], *, business_unit_id: int | None = None
    ) -> Operation[SubscriberWideStatuses]:
        """Read the opt-outs of many subscribers, by one request; of all brands unless one is given."""
        return self._send(
            self.client.calls.batch_get_unsubscribe_all(
                subscribers, business_unit_id=self._brand(business_unit_id)
            )
        )

    def find_opt_outs(self, since: datetime) -> list[OptOut]:
        """Find the contacts that have opted out of everything since a time, by searching the CRM.

        It sees contacts only, and only once HubSpot's index has them. It needs the scope crm.objects.contacts.read.

        :param since: a time with its zone.
        :raises ValueError: no time, or one without a zone.
        """
        from airflow_provider_hubprefs.hooks.plain import plain
        from airflow_provider_hubprefs.hubspot.api.contacts import find_opt_outs
        from airflow_provider_hubprefs.hubspot.privacy import shown
        from airflow_provider_hubprefs.hubspot.transport.client import run

        if getattr(since, "tzinfo", None) is None:
            raise ValueError(f"since: expected a datetime with its zone, got {shown(since)}")
        floor = round(since.timestamp() * 1000)
        found = run(find_opt_outs(self.client.asend, self.client.calls.version, floor=floor))
        if found.missed:
            self.log.warning("%d contacts that have opted out could not be read now", len(found.missed))
        return plain(sorted((one for one in found.opt_outs if one.at >= floor), key=lambda one: one.at))

    def check_subscription(self, subscription_id: int) -> None:
        """Check that the portal has an active subscription type of this id, if the token may list them.

        :raises ValidationError: the portal has none; the text names the active ones.
        """
        from airflow_provider_hubprefs.bulk.send.guards import permitted_definitions, unusable_subscription

        definitions = permitted_definitions(self.client)
        if (
            definitions is not None
            and (error := unusable_subscription(definitions, subscription_id)) is not None
        ):
            raise error

    def encrypt_address(self, subscriber: str) -> str:
        """Encrypt an address with the connection's credentials, for arguments of triggers.

        Only a user of the connection can decrypt it: Airflow's database and logs show nothing of it.
        """
        from airflow_provider_hubprefs.hubspot.privacy import encrypt_address

        return encrypt_address(subscriber, key=self.client.auth.identity())

    # -- in an event loop -----------------------------------------------------------------------------------

    async def aget_client(self) -> AsyncClient:
        """Make a client for an event loop, without blocking it. The caller closes the client.

        :raises SettingsError: something in the connection cannot work; the text names it.
        :raises AirflowNotFoundException: there is no such connection.
        """
        import asyncio

        connection = await get_async_connection(self, self.hubprefs_conn_id)
        fields = await asyncio.to_thread(self._fields_of, connection)
        name = fields.get("budget_conn_id")
        budget = await get_async_connection(self, str(name)) if name else None
        return await asyncio.to_thread(self._make_async_client, connection, fields, budget)

    def _make_async_client(
        self, connection: Connection, fields: Mapping[str, Any], budget_connection: Connection | None
    ) -> AsyncClient:
        """Runs in a thread: it loads libraries and opens the budget's store."""
        from airflow_provider_hubprefs.hubspot.transport.aio import AsyncClient

        return self._make_client(
            AsyncClient, connection, fields, budget_connection=budget_connection, in_loop=True
        )

    # -- the connection -------------------------------------------------------------------------------------

    def test_connection(self) -> tuple[bool, str]:
        """Check what the connection can do: quickly, by reads only, and without showing a secret.

        It makes its own client, with shorter time-outs; the hook's client stays as it is.

        :return: within 20 s: whether the token can read and write, and a line each of what it can, with the scopes to
            grant, portal, token and budget. The log has it as well, as Airflow shows it for some seconds only.
        """
        from airflow_provider_hubprefs.hooks.connection import TEST_SETTINGS, describe_in_time
        from airflow_provider_hubprefs.hubspot.errors import HubSpotError
        from airflow_provider_hubprefs.hubspot.transport.client import Client

        try:
            budget = self._budget_connection
            client = self._make_client(Client, self.connection, self._fields, TEST_SETTINGS, budget)
            works, said = describe_in_time(client, business_unit_id=self.business_unit_id)
        except HubSpotError as error:  # Airflow tests a copy of the connection, under a name of its own
            own = f"connection {self.connection.conn_id!r}"
            works, said = False, str(error).replace(own, "this connection")
        self.log.info("Connection test: %s", said.replace("\n", " "))
        return works, said

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The connection's form for Airflow 2.11 to 3.1; later ones read the provider's description."""
        return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Extra fields of that form."""
        from wtforms import PasswordField, StringField  # type: ignore[import-untyped]

        def widget(label: str, description: str, schema: dict[str, Any], **_: Any) -> Any:
            """Text for numbers, too: WTForms' number fields refuse to stay empty."""
            return (PasswordField if "format" in schema else StringField)(label, description=description)

        return {name: widget(**field) for name, field in CONNECTION_FIELDS.items()}

    @cached_property
    def _fields(self) -> dict[str, Any]:
        return self._fields_of(self.connection)

    def _fields_of(self, connection: Connection) -> dict[str, Any]:
        from airflow_provider_hubprefs.hooks.connection import extra_fields

        return extra_fields(connection)

    @cached_property
    def _budget_connection(self) -> Connection | None:
        name = self._fields.get("budget_conn_id")
        return self.get_connection(str(name)) if name else None

    def _make_client(
        self,
        make: Callable[..., C],
        connection: Connection,
        fields: Mapping[str, Any],
        defaults: Mapping[str, float] | None = None,
        budget_connection: Connection | None = None,
        *,
        in_loop: bool = False,
    ) -> C:
        from airflow_provider_hubprefs.hooks.connection import client_from

        return client_from(
            make,
            connection,
            fields,
            api_version=self._api_version,
            settings={**(defaults or {}), **self._settings},
            max_budget_share=self._max_budget_share,
            budget_connection=budget_connection,
            in_loop=in_loop,
        )

    def _brand(self, business_unit_id: int | None) -> int | None:
        from airflow_provider_hubprefs.hooks.connection import brand

        given = brand(business_unit_id)
        return self.business_unit_id if given is None else given

    def _send(self, call: Call[T]) -> T:
        from airflow_provider_hubprefs.hooks.plain import plain
        from airflow_provider_hubprefs.lineage import collect_call

        answer = plain(self.client.send(call))
        collect_call(self, call)
        return answer
