"""What Airflow asks a provider for. Runs on every ``airflow`` command, so it imports nothing."""

from __future__ import annotations

from typing import Any

_PACKAGE = "airflow_provider_hubprefs"
_NAME = "HubSpot Communication Preferences"

CONN_ID = "hubprefs_default"

_MAIN = "API version and brand"
_OAUTH = "OAuth app (instead of a token; it takes all three)"
_ALL_THREE = "OAuth takes all three of these fields, and no token"
_BUDGET = "Request budget (who shares HubSpot's rate limit)"
_TUNING = "Times and limits (leave empty)"


def _field(section: str, label: str, description: str, kind: str = "string", **schema: Any) -> dict[str, Any]:
    """A field that may stay empty. It has no default: the form would write that into the connection, for ever."""
    schema = {"type": [kind, "null"], "section": section, **schema}
    return {"label": label, "description": description, "schema": schema}


CONNECTION_FIELDS: dict[str, dict[str, Any]] = {
    "api_version": _field(
        _MAIN,
        "API version",
        "Empty: 2026-09. Or 2026-03, v4, or a later YYYY-MM that HubSpot has",
        enum=["2026-09", "2026-03", "v4", "2027-03", "2027-09"],
        values_display={
            "2026-03": "2026-03, until about September 2027",
            "v4": "v4, until 30 March 2027",
            "2027-03": "2027-03, once HubSpot has it",
            "2027-09": "2027-09, once HubSpot has it",
        },
    ),
    "business_unit_id": _field(
        _MAIN,
        "Brand (businessUnitId)",
        "Only for accounts with the Brands add-on: whose opt-outs; 0 is the account's own brand",
        "integer",
        minimum=0,
    ),
    "client_id": _field(_OAUTH, "OAuth client id", _ALL_THREE),
    "client_secret": _field(_OAUTH, "OAuth client secret", _ALL_THREE, format="password"),
    "refresh_token": _field(_OAUTH, "OAuth refresh token", _ALL_THREE, format="password"),
    "budget_store": _field(
        _BUDGET,
        "Budget store",
        "Empty or file: all processes of this machine. process: each for itself. file:///a/folder: all that may "
        "write there. redis://host:6379/0: all that reach this Redis, if it needs no password",
        examples=["file", "process", "file:///var/lib/hubprefs", "redis://localhost:6379/0"],
    ),
    "budget_conn_id": _field(
        _BUDGET,
        "Budget's Redis connection",
        "Instead, for several machines or containers: the id of a connection of the type redis",
    ),
    "connect_timeout": _field(_TUNING, "Reach HubSpot within (s)", "Empty: 10", "number", minimum=0),
    "read_timeout": _field(
        _TUNING,
        "Wait for an answer (s)",
        "Empty: 110. HubSpot itself gives up after 100",
        "number",
        minimum=0,
    ),
    "retry_total": _field(
        _TUNING, "Repeat a failed request for (s)", "Empty: 300. Then the task fails", "number", minimum=0
    ),
    "migrating_max_wait": _field(
        _TUNING,
        "Wait while HubSpot moves the account (s)",
        "Empty: 900. If HubSpot asks for more, the task fails",
        "number",
        minimum=0,
    ),
    "max_answer_bytes": _field(
        _TUNING, "Longest answer (bytes)", "Empty: 67108864. A longer one is refused", "integer", minimum=1
    ),
}
"""The connection's extra fields, in the form Airflow 3.2 and later draw by themselves."""

_URIS = {
    "schemes": ["hubspot"],
    "handler": f"{_PACKAGE}.assets.hubspot.sanitize_uri",
    "factory": f"{_PACKAGE}.assets.hubspot.create_asset",
    "to_openlineage_converter": f"{_PACKAGE}.assets.hubspot.to_openlineage",
}

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["login", "schema"],
    # Airflow draws host, password and port in this order, whatever is said here.
    "relabeling": {"password": "Token", "host": "Host (leave empty)", "port": "Port (leave empty)"},
    "placeholders": {
        "password": "of a private app, or a service key",
        "host": "https://api.hubapi.com",
        "port": "443, if Test says Bad Request (Airflow 3.3.1, 3.3.2)",
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
                "python-modules": [
                    f"{_PACKAGE}.operators.{name}" for name in ("preferences", "bulk", "reconcile", "export")
                ],
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
        "cli": [f"{_PACKAGE}.cli.definition.get_cli_commands"],
        "extra-links": [
            f"{_PACKAGE}.links.{name}" for name in ("ReportLink", "DeadLettersLink", "SettingsLink")
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
                            "the rows that were not applied; tasks override it with output=. No relative "
                            "path: API server and workers have to find the same one. Empty: nothing is written."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "s3://aws_default@bucket/hubprefs",
                        "default": "",
                    },
                    "audit": {
                        "description": (
                            "Folder (path or URL) that gets a copy of the audit of every task that writes, in a "
                            "folder for each portal. No relative path. Empty: each audit is only in its run's folder."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "s3://aws_default@bucket/audit",
                        "default": "",
                    },
                    "audit_key": {
                        "description": (
                            "Secret of 16 characters or more that audits are signed with, and that an address is "
                            "looked up by; the same everywhere, and for as long as audits are kept. To change it, put "
                            "the new one before the old one, with a comma between. Empty: Airflow's fernet_key."
                        ),
                        "version_added": "0.1.0",
                        "type": "string",
                        "sensitive": True,
                        "example": None,
                        "default": "",
                    },
                    "audit_addresses": {
                        "description": (
                            "Whether audits have addresses, and not only fingerprints of them; tasks override it with "
                            "audit_addresses=. Empty: False."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": "True",
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
        "asset-uris": [_URIS],
        "dataset-uris": [_URIS],
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
