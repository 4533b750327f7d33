"""Files of a run's own, in any store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_hubprefs.storage import json_in, lines_in

BLOCK, MOST = 1 << 20, 1 << 24


@pytest.fixture(params=["local", "object store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A folder of each kind of store."""
    if request.param == "local":
        return tmp_path
    from airflow.sdk.io import attach

    from airflow_provider_hubprefs.compat import ObjectStoragePath

    attach("memory", fs=MemoryFileSystem())
    return ObjectStoragePath("memory://storage")


@pytest.mark.parametrize(
    "lines",
    [[], [b"one\n"], [b"one\n", b"\n", b"cut off"], [b"x" * BLOCK + b"\n", b"y\n"], [b"xy\n"] * BLOCK],
    ids=["none", "one", "no-end", "longer-than-a-block", "many-blocks"],
)
def test_lines_are_those_of_the_file(folder: Any, lines: list[bytes]) -> None:
    (folder / "lines").write_bytes(b"".join(lines))
    assert list(lines_in(folder / "lines")) == lines


def test_a_line_that_no_run_writes_comes_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"x" * (2 * MOST) + b"\nend\n")
    *pieces, last = lines_in(tmp_path / "lines")
    assert (max(map(len, pieces)) <= MOST + BLOCK, b"".join(pieces), last) == (
        True,
        b"x" * (2 * MOST) + b"\n",
        b"end\n",
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [(b'{"a": 1}', {"a": 1}), (b"[]", None), (b'{"a"', None), (b'"\xff"', None), (None, None)],
    ids=["object", "list", "cut-off", "no-text", "missing"],
)
def test_what_is_no_json_object_is_none(folder: Any, text: bytes | None, found: object) -> None:
    if text is not None:
        (folder / "file").write_bytes(text)
    assert json_in(folder / "file" if text is not None else folder / "other") == found
