"""Finding repetitions without keeping addresses."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.source.duplicates import SeenKeys
from airflow_provider_hubprefs.bulk.source.errors import SourceError


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([f"{name}@x.test" for name in "abcdefgh"]), max_size=60),
    st.integers(0, 60),
)
def test_the_first_row_is_named_for_every_repetition(subscribers: list[str], at: int) -> None:
    rows = [(subscriber, number) for number, subscriber in enumerate(subscribers)]
    with SeenKeys() as seen:
        named = seen.repeated(rows[:at]) | seen.repeated(rows[at:])
    firsts = {number: subscribers.index(subscriber) for subscriber, number in rows}
    assert named == {number: first for number, first in firsts.items() if first != number}


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
    with SeenKeys() as seen:
        seen.execute("PRAGMA max_page_count = 8")
        with pytest.raises(SourceError, match=r"cannot be written.*TMPDIR"):
            seen.repeated([(f"subscriber{number}@example.com", number) for number in range(10_000)])


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_goes_to_disk_is_private_nameless_without_addresses_and_gone_in_the_end() -> None:
    before = set(_temporary_files())
    with SeenKeys() as seen:
        for begin in range(0, 700_000, 10_000):
            numbers = range(begin, begin + 10_000)
            seen.repeated([(f"subscriber{number}@example.com", number) for number in numbers])
        (mine,) = set(_temporary_files()) - before
        status = os.fstat(mine)
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_nlink == 0
        assert status.st_size > 1_000_000
        content = os.pread(mine, status.st_size, 0)
        assert b"example" not in content
        assert b"subscriber" not in content
        assert seen.repeated([("subscriber7@example.com", 700_000)]) == {700_000: 7}
    assert set(_temporary_files()) == before


def test_two_objects_digest_the_same_address_differently() -> None:
    digests = []
    for _ in range(2):
        with SeenKeys() as seen:
            seen.repeated([("jane@example.com", 1)])
            digests.append(seen.execute("SELECT digest FROM digests").fetchone()[0])
    assert len(digests[0]) == 11
    assert digests[0] != digests[1]
