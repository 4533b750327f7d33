"""The leak search finds an address in every form, file and table."""

from __future__ import annotations

import base64
import json
import sqlite3
import zlib
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.system.leaks import leaks, leaks_in_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ADDRESS = "quokkawombat+7@numbatbilby.example"
OTHER = "another.one@elsewhere.example"


@pytest.mark.parametrize(
    "stored",
    [
        str,
        str.upper,
        quote,
        lambda text: quote(quote(text)),
        lambda text: text.replace("@", "%40"),
        lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
        lambda text: json.dumps({"subscriber": text}),
        lambda text: text.replace("@", "\\u0040"),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.b64encode(f"x{text}".encode()).decode(),
        lambda text: base64.urlsafe_b64encode(f"xy{text}?".encode()).decode(),
        lambda text: text.encode().hex(),
        lambda text: text.encode("utf-16-le").decode("latin-1"),
    ],
)
def test_an_address_is_found_in_every_form_it_is_stored_in(stored: Callable[[str], str]) -> None:
    data = f"a line before\n2026-11-20 task failed: {stored(ADDRESS)} and more".encode("latin-1")
    assert leaks(data, [ADDRESS])
    assert not leaks(data, [OTHER])


def test_masked_addresses_are_no_leak() -> None:
    assert not leaks(b"q***@n***.example: changed", [ADDRESS, "quokkawombat", "numbatbilby"])


def test_every_table_of_a_database_is_searched(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "airflow.db") as db:
        db.execute("create table anything (id integer, value)")
        db.execute("insert into anything values (1, ?)", (json.dumps({"conf": OTHER}),))
        db.execute("insert into anything values (2, ?)", (zlib.compress(ADDRESS.encode()),))
    assert len(leaks_in_files(tmp_path, [ADDRESS])) == 1
    assert len(leaks_in_files(tmp_path, [OTHER])) == 1
    assert not leaks_in_files(tmp_path, ["unknown@numbatbilby.example"])


def test_files_in_folders_are_searched(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "dag_id=any" / "attempt=1.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"GET /statuses/{quote(ADDRESS)}?channel=EMAIL")
    assert leaks_in_files(tmp_path, [ADDRESS])[0].startswith("logs/dag_id=any/attempt=1.log: ")
