"""Finding repetitions without keeping addresses."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.dedupe import Seen, _number_in


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([f"{name}@x.test" for name in "abcdefgh"]), max_size=60),
    st.integers(0, 60),
    st.integers(0, 9),
)
def test_the_first_row_is_told_for_every_repetition(subscribers: list[str], at: int, in_memory: int) -> None:
    rows = [(subscriber, number) for number, subscriber in enumerate(subscribers)]
    with Seen(in_memory=in_memory) as seen:
        told = seen.repeated(rows[:at]) | seen.repeated(rows[at:])
    firsts = {number: subscribers.index(subscriber) for subscriber, number in rows}
    assert told == {number: first for number, first in firsts.items() if first != number}


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


def test_entries_of_a_bucket_that_together_look_like_another_are_told_apart() -> None:
    digests = [bytes(range(10)), bytes(range(100, 110))]
    entries = [digest + number.to_bytes(4, "little") for digest, number in zip(digests, (7, 8), strict=True)]
    bucket = b"".join(entries)
    assert [_number_in(bucket, digest) for digest in digests] == [7, 8]
    across = bucket[9:19]
    assert across in bucket
    assert _number_in(bucket, across) is None
    assert _number_in(bucket + across + (9).to_bytes(4, "little"), across) == 9


def test_a_number_that_a_bucket_has_no_room_for() -> None:
    with Seen() as seen:
        assert seen.repeated([("a@x.test", 2**32), ("a@x.test", 2**32 + 1)]) == {2**32 + 1: 2**32}


def test_the_temporary_file_is_for_those_that_memory_has_no_room_for() -> None:
    with Seen(in_memory=3) as seen:
        assert seen.repeated([(f"{name}@x.test", number) for number, name in enumerate("abca")]) == {3: 0}
        assert seen._database is None
        assert seen.repeated([(f"{name}@x.test", number) for number, name in enumerate("adedc", 4)]) == {
            4: 0,
            7: 5,
            8: 2,
        }
        assert seen._database is not None


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_goes_to_disk_is_private_nameless_without_addresses_and_gone_in_the_end() -> None:
    before = set(_temporary_files())
    with Seen(in_memory=0) as seen:
        for begin in range(0, 400_000, 10_000):
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
        assert seen.repeated([("subscriber7@example.com", 400_000)]) == {400_000: 7}
    assert set(_temporary_files()) == before


def test_two_objects_digest_the_same_address_differently() -> None:
    digests = []
    for _ in range(2):
        with Seen(in_memory=0) as seen:
            seen.repeated([("jane@example.com", 1)])
            assert seen._database is not None
            digests.append(seen._database.execute("SELECT digest FROM seen").fetchone()[0])
    assert len(digests[0]) == 11
    assert digests[0] != digests[1]
