"""HubSpot's published OpenAPI documents, cleaned of their known defects.

``example: null`` stands everywhere, and one example is a string where an object is meant: examples are taken
out. The error body is declared for ``*/*``. Scopes are named that no scheme declares: security is left to
the caller. 2026-09 is 2026-03 with another version: the public preview of 2026-09 is older than its release.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

VERSIONS = ("v3", "v4", "2025-09", "2026-03", "2026-09")
METHODS = ("get", "post", "put", "patch", "delete")
NOT_SIMULATED = {"/resubscribe", "/subscribe", "/unsubscribe", "/status/email/{emailAddress}"}


def _folder() -> Path | None:
    beside = Path(__file__).resolve().parents[3] / "shared" / "specs"
    folder = Path(os.environ.get("HUBPREFS_SPECS") or beside)
    return folder if (folder / "v4.json").is_file() else None


SPECS = _folder()


@cache
def document(version: str) -> dict[str, Any]:
    """Return a version's document, with paths that begin after the version."""
    if SPECS is None:
        raise FileNotFoundError("HubSpot's OpenAPI documents are not here; HUBPREFS_SPECS names their folder")
    source = "2026-03" if version == "2026-09" else version
    text = (SPECS / f"{source}.json").read_text(encoding="utf-8").replace(source, version)
    cleaned: dict[str, Any] = _without_examples(json.loads(text))
    prefix = f"/communication-preferences/{version}"
    cleaned["paths"] = {path.removeprefix(prefix): item for path, item in cleaned["paths"].items()}
    schemas = cleaned["components"]["schemas"]
    if "StandardError" in schemas:
        schemas["StandardError"]["required"] = ["status", "category", "message"]
    return cleaned


def _without_examples(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_examples(each) for each in value]
    if isinstance(value, dict):
        return {name: _without_examples(each) for name, each in value.items() if name != "example"}
    return value
