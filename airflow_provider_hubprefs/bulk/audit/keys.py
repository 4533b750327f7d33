"""The keys of audits: they make fingerprints that can be looked up, and sign files."""

from __future__ import annotations

from hashlib import blake2b
from secrets import token_hex
from typing import Any

from airflow_provider_hubprefs.hubspot.errors import SettingsError
from airflow_provider_hubprefs.hubspot.privacy import fingerprint

SHORTEST = 16


class AuditKeys:
    """Keys, made of secrets: the first one writes, all of them look up and check.

    :param secrets: separated by commas, the latest first. Nothing: a key that only this object has, which signs nothing
        and looks nothing up.
    :raises SettingsError: one is too short to be a secret.
    """

    def __init__(self, secrets: str = "") -> None:
        given = [one.strip() for one in secrets.split(",") if one.strip()]
        if any(len(one) < SHORTEST for one in given):
            raise SettingsError(
                f"audit_key: expected secrets of at least {SHORTEST} characters, separated by commas; one is shorter"
            )
        keys = [blake2b(one.encode(), person=b"hubprefs audit").digest() for one in given or [token_hex(32)]]
        self.current = keys[0]
        self.by_id = {fingerprint("id", key=key)[:8]: key for key in keys if given}
        """The keys by what files name them by."""
        self.id = next(iter(self.by_id), None)
        """Of the first one; None: other processes do not have it."""

    def sign(self, text: bytes, key_id: Any) -> str | None:
        """Return the signature of a text; None: there is no key of this id."""
        key = self.by_id.get(str(key_id))
        return None if key is None else blake2b(text, key=key, digest_size=16).hexdigest()
