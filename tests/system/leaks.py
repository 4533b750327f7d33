"""The leak search: is an address, or a part of one, in a file or a database, in any form that text is stored in?"""

from __future__ import annotations

import base64
import json
import sqlite3
import zlib
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def leaks(data: bytes, secrets: Iterable[str]) -> list[str]:
    """Secrets that are in the data, each with its form and the bytes around it."""
    folded = data.lower()
    found = []
    for secret in secrets:
        for form, needle in _forms(secret):
            exact = form == "base64"
            where = (data if exact else folded).find(needle if exact else needle.lower())
            if where >= 0:
                found.append(f"{secret} ({form}): ...{data[max(0, where - 200) : where + 200]!r}...")
                break
    return found


def leaks_in_files(folder: Path, secrets: Iterable[str]) -> list[str]:
    """Search every file below a folder; SQLite databases also as text, table by table."""
    wanted = list(secrets)
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        data = dump(path) if path.suffix == ".db" else b""
        found += [f"{path.relative_to(folder)}: {leak}" for leak in leaks(path.read_bytes() + data, wanted)]
    return found


def dump(database: Path) -> bytes:
    """Everything in a database as text, the contents of its blobs too."""
    lines = []
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        lines += [line.encode(errors="replace") for line in db.iterdump()]
        tables = [name for (name,) in db.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for row in db.execute(f'select * from "{table}"'):
                lines += [_unpacked(value) for value in row if isinstance(value, bytes)]
    return b"\n".join(lines)


def _unpacked(blob: bytes) -> bytes:
    try:
        return zlib.decompress(blob)
    except zlib.error:
        return blob


def _forms(secret: str) -> Iterable[tuple[str, bytes]]:
    plain = secret.encode()
    yield "plain", plain
    yield "percent-encoded", quote(secret, safe="").encode()
    yield "percent-encoded but for +", quote(secret, safe="+").encode()
    yield "percent-encoded twice", quote(quote(secret, safe=""), safe="").encode()
    yield "every character percent-encoded", "".join(f"%{byte:02x}" for byte in plain).encode()
    yield "escaped", json.dumps(secret)[1:-1].replace("@", "\\u0040").encode()
    yield "HTML", secret.replace("@", "&#64;").encode()
    yield "hexadecimal", plain.hex().encode()
    yield "UTF-16", secret.encode("utf-16-le")
    for offset in range(3):  # the form depends on the bytes before; the characters that do are left out
        encoded = base64.b64encode(bytes(offset) + plain).rstrip(b"=")
        rest = (offset + len(plain)) % 3
        needle = encoded[(0, 2, 3)[offset] : -1 if rest else None]
        yield "base64", needle
        yield "base64", needle.replace(b"+", b"-").replace(b"/", b"_")
