"""What Airflow asks a provider for. Runs on every ``airflow`` command, so it imports nothing."""

from __future__ import annotations

from typing import Any

_PACKAGE = "airflow_provider_hubprefs"
_NAME = "HubSpot Communication Preferences"


def _number(label: str, description: str, default: float) -> dict[str, Any]:
    schema = {"type": ["number", "null"], "minimum": 0, "default": default}
    return {"label": label, "description": description, "schema": schema}


def _text(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}


CONNECTION_FIELDS: dict[str, dict[str, Any]] = {
    "api_version": _text("API version", "v4, 2026-03 or 2026-09 (default); a later YYYY-MM is accepted"),
    "business_unit_id": {
        "label": "Brand (businessUnitId)",
        "description": "Needed for opt-outs in portals with the Brands add-on; 0 is the account's own brand",
        "schema": {"type": ["integer", "null"], "minimum": 0},
    },
    "client_id": _text("OAuth client id", "Only for OAuth apps, which need no token above"),
    "client_secret": _text("OAuth client secret", "Only for OAuth apps", format="password"),
    "refresh_token": _text("OAuth refresh token", "Only for OAuth apps", format="password"),
    "budget_store": _text(
        "Budget store",
        "Who shares the rate limit: file (this machine, default), file:///a/folder, redis://host, process",
    ),
    "budget_conn_id": _text(
        "Budget's Redis", "Connection (type redis) of the Redis that keeps the rate limit of all"
    ),
    "connect_timeout": _number("Connect timeout (s)", "To reach HubSpot", 10),
    "read_timeout": _number(
        "Read timeout (s)", "Between two pieces of an answer; HubSpot gives up at 100", 110
    ),
    "retry_total": _number("Retry for at most (s)", "No attempt of one call starts later than this", 300),
    "migrating_max_wait": _number(
        "Wait for a migration (s)", "Longest Retry-After of a 477 to wait for", 900
    ),
    "max_answer_bytes": _number("Longest answer (bytes)", "A longer one is refused", 64 * 1024 * 1024),
}
"""The connection's extra fields, in the form Airflow 3.2 and later draw by themselves."""

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["login", "schema", "port"],
    "relabeling": {"password": "Token", "host": "Host"},
    "placeholders": {
        "password": "private app token or service key",
        "host": "https://api.hubapi.com (leave empty)",
    },
}


def get_provider_info() -> dict[str, Any]:
    """Describe the provider."""
    return {
        "package-name": "airflow-provider-hubprefs",
        "name": _NAME,
        "description": "HubSpot's communication preferences: opt-outs, statuses and consents, one or millions.",
        "integrations": [
            {
                "integration-name": _NAME,
                "external-doc-url": "https://developers.hubspot.com/docs/api-reference/overview",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": _NAME, "python-modules": [f"{_PACKAGE}.hooks.hubprefs"]}],
        "operators": [
            {
                "integration-name": _NAME,
                "python-modules": [f"{_PACKAGE}.operators.{name}" for name in ("preferences", "bulk")],
            }
        ],
        "sensors": [{"integration-name": _NAME, "python-modules": [f"{_PACKAGE}.sensors.operation"]}],
        "triggers": [
            {
                "integration-name": _NAME,
                "python-modules": [
                    f"{_PACKAGE}.triggers.{name}" for name in ("operation", "batch", "opt_out")
                ],
            }
        ],
        "task-decorators": [
            {"name": name, "class-name": f"{_PACKAGE}.decorators.hubprefs.{name}"}
            for name in ("hubprefs_unsubscribe", "hubprefs_set_status")
        ],
        "notifications": [f"{_PACKAGE}.notifications.hubprefs.HubPrefsNotifier"],
        "config": {
            "hubprefs": {
                "description": "HubSpot's communication preferences.",
                "options": {
                    "output": {
                        "description": (
                            "Folder (path or URL) where every bulk run makes a folder of its own, for its report and "
                            "the rows that were not applied; tasks override it with output=. Empty: nothing is written."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "s3://aws_default@bucket/hubprefs",
                        "default": "",
                    },
                    "time_zone": {
                        "description": (
                            "Time zone of the HubSpot account (HubSpot: Settings > Account Defaults). Where the day's "
                            "requests are used up, retries wait for midnight there (Airflow 3.3). Empty: retry_delay."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "US/Eastern",
                        "default": "",
                    },
                },
            }
        },
        "connection-types": [
            {
                "connection-type": "hubprefs",
                "hook-class-name": f"{_PACKAGE}.hooks.hubprefs.HubPrefsHook",
                "hook-name": _NAME,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONNECTION_FIELDS,
            }
        ],
    }
