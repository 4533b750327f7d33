"""The first dead letters of a run, masked, for its page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.hubspot.privacy import mask, scrub
from airflow_provider_hubprefs.storage import open_quietly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_hubprefs.storage import Path

_SHOWN = ("file", "row", "status", "subscription_id", "outcome", "category", "message", "correlation_id")
"""Fields of a dead letter that a page may show beside the subscriber. A legal basis's explanation is free text."""

_MOST_READ = 400_000
"""Bytes of the file; a hundred letters are about a tenth of it."""
_LONGEST, _WORD = 300, 120
_TEXTS = {"file", "message"}
_MASKED = re.compile(r"[^\s@]?\*+@[^\s@]?\*+(?:\.[\w-]{2,24})?", re.ASCII)
_MASKED_WORDS = re.compile(rf"(?<![^\s(\"'])(?:{_MASKED.pattern})(?=[.,;:)\"']*(?:\s|$))", re.ASCII)
_MAY_BE_AT = re.compile(r"[@%&=\\\uff20\ufe6b]")
"""What every form of an at sign that :func:`.scrub` knows has in it; most texts have none, and take no time."""
_CONNECTION = re.compile(r"\b(\w[\w+.-]*://)[^/\s@]*@")
"""Airflow writes a store's connection as a URL's user: ``s3://aws_default@bucket/key`` would look like an address."""


def clean(value: object, *, most: int = _LONGEST) -> str:
    """Return text for a page: one line, limited in length, with whatever looks like an address masked."""
    text = _CONNECTION.sub(r"\1", " ".join(str(value)[: 10 * most].split()))
    if _MAY_BE_AT.search(text):
        rest = _MASKED_WORDS.sub("", text)  # masked once, it stays as it is
        text = text if scrub(rest) == rest else scrub(text)
    return text if len(text) <= most else f"{text[:most]}…"


def masked(letter: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a dead letter that has no address in it; what is not known is left out."""
    found = {
        name: value if isinstance(value, int) else clean(value, most=_LONGEST if name in _TEXTS else _WORD)
        for name in _SHOWN
        if (value := letter.get(name)) is not None
    }
    subscriber = str(letter.get("subscriber", ""))
    if not _MASKED.fullmatch(subscriber):
        subscriber = mask(subscriber)  # of text that is no address, it might keep what follows the last dot
    return {**found, "subscriber": subscriber if _MASKED.fullmatch(subscriber) else "***"}


def first_letters(path: Path | None, most: int = 100) -> list[dict[str, Any]]:
    """Return the first dead letters, masked. However long the file is, only its beginning is read.

    :param path: of ``dead_letters.jsonl``; None, or of a file that is missing or cannot be read: there are none.
    :param most: so many lines are looked at; those that are no dead letter are left out.
    """
    if path is None:
        return []
    try:
        with open_quietly(path, "rb") as file:
            lines = file.read(_MOST_READ).split(b"\n")[:most]
    except Exception:  # noqa: BLE001 - stores raise what their libraries raise; a page without letters is still one
        return []
    return [masked(letter) for line in lines if (letter := _letter(line)) is not None]


def _letter(line: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # also of a line that is cut off
        return None
    return found if isinstance(found, dict) and {"row", "subscriber"} <= found.keys() else None
