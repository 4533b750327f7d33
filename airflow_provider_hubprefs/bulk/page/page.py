"""Renders the report of a run as one HTML page."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def render(report: Mapping[str, Any], letters: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the page of a report.

    :param report: the content of ``report.json``.
    :param letters: the first dead letters, masked.
    """
    return f"<!doctype html><pre>{html.escape(json.dumps([report, *letters], indent=2))}</pre>"
