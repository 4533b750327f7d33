"""The audit of a task: its settings in Airflow's configuration, and what records it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_hubprefs.bulk.audit.keys import AuditKeys

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
