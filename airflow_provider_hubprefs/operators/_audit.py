"""The audit of a task: its settings in Airflow's configuration, and what records it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.arguments import yes_or_no
from airflow_provider_hubprefs.operators._files import path_at, task_of

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.audit.keys import AuditKeys
    from airflow_provider_hubprefs.bulk.audit.recorder import AuditRecorder
    from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.send.writes import Write
    from airflow_provider_hubprefs.compat import BaseOperator, Context
    from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook

_log = logging.getLogger(__name__)


def audit_keys() -> AuditKeys:
    """Return the keys that ``[hubprefs] audit_key`` has, or else those that are made of Airflow's fernet key.

    :raises SettingsError: one is too short.
    """
    from airflow_provider_hubprefs.bulk.audit.keys import AuditKeys
    from airflow_provider_hubprefs.compat import conf

    secrets = conf.get("hubprefs", "audit_key", fallback="") or ""
    if not secrets.strip():
        of_airflow = conf.get("core", "fernet_key", fallback="") or ""
        secrets = "" if "{" in of_airflow else of_airflow  # where there is none, Airflow 3 says {FERNET_KEY}
    return AuditKeys(secrets)


def audit_of(
    operator: BaseOperator,
    context: Context,
    hook: HubPrefsHook,
    write: Write,
    folder: RunFolder | None,
    *,
    source: Any = None,
    plan: str | None = None,
    checkpoint: Checkpoint | None = None,
) -> AuditRecorder | None:
    """Return what records the writes of a task; None: there is no folder for it, or nothing is written.

    :param source: that is read.
    :param plan: digest of the plan that is applied.
    :param checkpoint: that knows the portal; None: HubSpot is asked, when there is something to record.
    :raises SourceError: ``[hubprefs] audit`` is set, and no audit can be written; nothing was sent yet.
    :raises SettingsError: the key is too short.
    """
    from airflow_provider_hubprefs import __version__
    from airflow_provider_hubprefs.bulk.audit.recorder import AuditRecorder
    from airflow_provider_hubprefs.bulk.audit.records import Same
    from airflow_provider_hubprefs.bulk.report.checkpoint import Identity, fingerprint_of_source, portal_of
    from airflow_provider_hubprefs.bulk.source.errors import SourceError
    from airflow_provider_hubprefs.compat import conf
    from airflow_provider_hubprefs.storage import is_whole

    if write.kind != "write":
        return None
    copies = conf.get("hubprefs", "audit", fallback="") or ""
    if copies and not is_whole(copies):
        raise SourceError("[hubprefs] audit is relative: expected a whole path or URL. Nothing was sent")
    if folder is None:
        if copies:
            raise SourceError(
                "[hubprefs] audit is set, and this task has no folder to write its audit in: set [hubprefs] output, "
                "or output=. Nothing was sent"
            )
        return None
    keys = audit_keys()
    if keys.id is None:
        _log.warning(
            "The audit of this task is not signed, and no address can be looked up in it: set [hubprefs] audit_key, "
            "because Airflow has no fernet_key here"
        )
    addresses = getattr(operator, "audit_addresses", None)
    if addresses is None:
        said = conf.get("hubprefs", "audit_addresses", fallback="") or "False"
        addresses = yes_or_no("[hubprefs] audit_addresses", said)

    def about() -> dict[str, Any]:
        return {
            **task_of(operator, context),
            "connection": hook.hubprefs_conn_id,
            "portal": portal_of(hook.client, checkpoint),
            "api_version": hook.client.calls.version,
            "provider_version": __version__,
            "source": fingerprint_of_source(source, key=keys.current.hex())
            if Identity.applies_to(source)
            else None,
            "plan": plan,
        }

    return AuditRecorder(
        folder,
        Same.of(write.arguments()),
        about,
        keys,
        addresses=addresses,
        copies=path_at(copies) if copies else None,
    )
