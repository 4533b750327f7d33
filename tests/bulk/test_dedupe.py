"""Finding repetitions without keeping addresses."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.source import duplicates as module
from airflow_provider_hubprefs.bulk.source.duplicates import Duplicates
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.row import Row


def batched(items: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def table() -> Duplicates:
    return Duplicates("error", str)


def rows(subscribers: Iterable[str]) -> list[Row]:
    return [Row(number, subscriber) for number, subscriber in enumerate(subscribers, start=1)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([f"{name}@x.test" for name in "abcdefgh"]), max_size=60),
    st.integers(0, 60),
)
def test_the_first_row_is_named_for_every_repetition(subscribers: list[str], at: int) -> None:
    every = rows(subscribers)
    firsts = [subscribers.index(one) + 1 for one in subscribers]
    with table() as seen:
        for some in (every[:at], every[at:]):
            repeats = seen.add(some)
            assert repeats == any(firsts[row.number - 1] != row.number for row in some)
        details = [row.detail for row in seen.flagged(every)]
    assert details == ["" if first == at else f"first in {first}" for at, first in enumerate(firsts, start=1)]


def _temporary_files() -> list[int]:
    """Descriptors of this process's files that have no name any more."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue  # the descriptor of this very listing
        if "etilqs" in target and target.endswith("(deleted)"):
            found.append(int(link.name))
    return found


def test_a_full_disk_is_an_error_of_the_source_with_what_to_do() -> None:
    with table() as seen:
        seen._execute("PRAGMA max_page_count = 8")
        with pytest.raises(SourceError, match=r"cannot be written.*TMPDIR"):
            for some in batched(rows(f"subscriber{number}@example.com" for number in range(10_000)), 100):
                seen.add(some)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_goes_to_disk_is_private_nameless_without_addresses_and_gone_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_CACHE", 100)
    before = set(_temporary_files())
    many = rows(f"subscriber{number}@example.com" for number in range(50_000))
    with table() as seen:
        for some in batched(many, 100):
            assert not seen.add(some)
        (mine,) = set(_temporary_files()) - before
        status = os.fstat(mine)
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_nlink == 0
        assert status.st_size > 1_000_000
        content = os.pread(mine, status.st_size, 0)
        assert b"example" not in content
        assert b"subscriber" not in content
        assert seen.add([again := Row(50_001, many[7].subscriber)])
        assert [row.detail for row in seen.flagged([again])] == ["first in 8"]
    assert set(_temporary_files()) == before


def test_two_tables_digest_the_same_address_differently() -> None:
    digests = [table()._digest(Row(1, "jane@example.com")) for _ in range(2)]
    assert len(digests[0]) == 11
    assert digests[0] != digests[1]
