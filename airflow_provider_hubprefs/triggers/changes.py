"""Start DAGs when one of these subscribers has changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_hubprefs.triggers.watching import Watcher, check_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_hubprefs.bulk.changes import ChangeFeed, Look
    from airflow_provider_hubprefs.hubspot.polling import Poller


class HubPrefsPreferenceChangeTrigger(Watcher):
    """Tell of subscribers of a list whose preference has changed: for an ``AssetWatcher``.

    .. code-block:: python

        trigger = HubPrefsPreferenceChangeTrigger(source="s3://bucket/vips.csv", output="s3://bucket/vip-changes")
        changes = Asset("vip_changes", watchers=[AssetWatcher(name="vips", trigger=trigger)])

    It asks HubSpot for all subscribers of the list, 100 by one request where the token has the batch scopes, and
    compares with what it saw before. The first look only remembers, and so does the first look at a subscriber who is
    new on the list; the list is read anew for every look. What has changed is written as a list to the folder
    ``output``: a JSON object with ``subscriber``, ``before``, ``now`` and ``seen_at`` on each line, where ``before``
    and ``now`` are true and false for opt-outs, or the statuses. Events, restarts and shared polls are as those of
    :class:`~.opt_out.HubPrefsOptOutTrigger`. It needs no CRM contacts, and sees every change that outlasts an interval.

    :param source: CSV, JSON Lines, Parquet or one address a line: whatever ``ObjectStoragePath`` reads. While it is
        missing, empty or being written to, the watcher waits, as after any failure.
    :param output: folder of the lists, for this watcher alone. What was seen is kept there as digests.
    :param subscription_id: the status for it is looked at; otherwise the opt-out from everything is.
    :param business_unit_id: brand, for opt-outs; by default the connection's.
    :param email_column: column of the addresses.
    :param poll_interval: seconds between the end of a look and the next one.
    :param max_budget_share: so much of the account's requests, at most; more than 0, at most 1.
    :param max_consecutive_failures: so many tries in a row may fail before the trigger does; each waits longer.
    :param hubprefs_conn_id: connection.
    :param api_version: overrides the connection's.
    :raises ValueError: an argument that cannot work.
    """

    ARGUMENTS: ClassVar[Sequence[str]] = (
        "source",
        "output",
        "subscription_id",
        "business_unit_id",
        "email_column",
        "poll_interval",
        "max_budget_share",
        "max_consecutive_failures",
        "hubprefs_conn_id",
        "api_version",
    )
    ABOUT: ClassVar[Sequence[str]] = ("source", "subscription_id", "business_unit_id", "hubprefs_conn_id")
    KEPT: ClassVar[str] = "hubprefs_preference_changes"

    def __init__(
        self,
        *,
        source: str,
        output: str,
        subscription_id: int | None = None,
        business_unit_id: int | None = None,
        email_column: str = "email",
        poll_interval: float = 300.0,
        max_budget_share: float = 0.25,
        max_consecutive_failures: int = 10,
        hubprefs_conn_id: str = "hubprefs_default",
        api_version: str | None = None,
    ) -> None:
        super().__init__(
            output=output,
            poll_interval=poll_interval,
            max_consecutive_failures=max_consecutive_failures,
            hubprefs_conn_id=hubprefs_conn_id,
            api_version=api_version,
        )
        check_place(source, "source", "a file of subscribers, such as s3://bucket/vips.csv")
        check_place(email_column, "email_column", "the name of the column with the addresses")
        for name, value in (("subscription_id", subscription_id), ("business_unit_id", business_unit_id)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise ValueError(f"{name}: expected a whole number or None, got {value!r}")
        if not isinstance(max_budget_share, int | float) or not 0 < max_budget_share <= 1:
            raise ValueError(
                f"max_budget_share: expected more than 0 and at most 1, got {max_budget_share!r}"
            )
        self.source = source
        self.subscription_id = subscription_id
        self.business_unit_id = business_unit_id
        self.email_column = email_column
        self.max_budget_share = max_budget_share

    def _poll(self) -> _List:
        return _List(self)

    def _make_feed(self, folder: Any, *, arguments: dict[str, Any], kept: list[Any]) -> ChangeFeed:
        from airflow_provider_hubprefs.bulk.changes import ChangeFeed

        return ChangeFeed(folder, arguments=arguments, kept=kept)


class _List:
    """A list of subscribers, looked at again and again.

    :param trigger: which list, and how.
    """

    def __init__(self, trigger: HubPrefsPreferenceChangeTrigger) -> None:
        self.what = f"The subscribers of {trigger.hubprefs_conn_id!r} cannot be looked at"
        self._trigger = trigger
        self._poller: Poller | None = None
        self._brand: int | None = None

    async def look(self) -> Look:
        """Look at all of them once."""
        trigger = self._trigger
        await asyncio.to_thread(_load)
        from airflow_provider_hubprefs.bulk.changes import look_at, reader

        try:
            poller = self._poller = self._poller or await self._open()
            source = await asyncio.to_thread(_path, trigger.source)
            return await look_at(
                source,
                email_column=trigger.email_column,
                ask=lambda subscriber: poller.ask(subscriber, 0),
                read=reader(subscription_id=trigger.subscription_id, business_unit_id=self._brand),
            )
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Close the connections."""
        poller, self._poller = self._poller, None
        if poller is not None:
            await poller.aclose()

    async def _open(self) -> Poller:
        from airflow_provider_hubprefs.bulk.changes import AT_ONCE
        from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
        from airflow_provider_hubprefs.hubspot.polling import Poller, Question

        trigger = self._trigger
        hook = HubPrefsHook(
            trigger.hubprefs_conn_id, trigger.api_version, business_unit_id=trigger.business_unit_id
        )
        self._brand = await hook.aget_business_unit_id() if trigger.subscription_id is None else None
        question = Question(
            about="opt_out" if trigger.subscription_id is None else "statuses", business_unit_id=self._brand
        )
        poller = Poller(question, hook.aget_client, max_budget_share=trigger.max_budget_share)
        poller.members = AT_ONCE
        return poller


def _load() -> None:
    """Load what a look needs: in a thread, as it takes its time."""
    import airflow_provider_hubprefs.bulk.changes
    import airflow_provider_hubprefs.hooks.connection
    import airflow_provider_hubprefs.hooks.hubprefs
    import airflow_provider_hubprefs.hubspot.polling  # noqa: F401


def _path(source: str) -> Any:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    return ObjectStoragePath(source)
