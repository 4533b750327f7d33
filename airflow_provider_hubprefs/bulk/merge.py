"""One report and one file of dead letters, out of those of a file's shards."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_hubprefs.bulk.report import NOT_APPLIED, OUTCOMES, ConservationError
from airflow_provider_hubprefs.bulk.shards import Shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from airflow_provider_hubprefs.bulk.dead_letters import Path

_ADDED = (
    "read",
    *OUTCOMES,
    "requests",
    "retries",
    "throttled",
    "waited_for_budget_seconds",
)
_ADDED_BY_NAME = ("reasons", "operations")
_HIGHEST = ("tries", "ended_at", "duration_seconds", "latency_p50_ms", "latency_p95_ms")
_LOWEST = ("started_at",)
_ROWS = ("last_confirmed_row", "last_pending_row")


class MergeError(Exception):
    """Summaries that do not make one whole."""


class _Done(msgspec.Struct, frozen=True):
    """A shard that was run.

    :param offset: what is added to a row's number to make it one of the whole file.
    :param not_applied: how many dead letters it has.
    """

    shard: Shard
    summary: Mapping[str, Any]
    offset: int
    not_applied: int


def merge(
    summaries: Iterable[Mapping[str, Any]],
    *,
    path_of: Callable[[str], Path],
    dead_letters: Path | None = None,
    report_to: Path | None = None,
) -> dict[str, Any]:
    """Make one summary of those of all shards; put their dead letters into one file, and delete the parts.

    Rows are numbered as in the whole file. Counts and what was spent are added up; ``tries``, ``duration_seconds`` and
    latencies are the highest of any shard. May be repeated: what is merged already is left as it is.

    :param path_of: makes a path of what a summary names as ``dead_letters``.
    :param dead_letters: where they go; None leaves them where the shards wrote them.
    :param report_to: where the summary goes, as JSON.
    :raises MergeError: a shard is missing, they are not of one file, or dead letters are missing.
    :raises ConservationError: outcomes do not add up to the rows read.
    """
    shards = _in_order(summaries)
    merged = _added_up(shards)
    merged["dead_letters"] = str(dead_letters) if dead_letters else None
    merged["report"] = str(report_to) if report_to else None
    parts = _assemble(shards, dead_letters, path_of) if dead_letters else []
    if report_to:
        with report_to.open("w", encoding="utf-8") as file:
            json.dump(merged, file, indent=2)
    for part in parts:
        part.unlink(missing_ok=True)
    return merged


def _in_order(summaries: Iterable[Mapping[str, Any]]) -> list[_Done]:
    """Check that the summaries are those of all shards of one file, each once."""
    by_number: dict[int, tuple[Shard, Mapping[str, Any]]] = {}
    length: dict[int, int] = {}
    for summary in summaries:
        told = dict(summary.get("shard") or {})
        if not told:
            raise MergeError("a summary is of no shard: expected those of tasks that were given shard=...")
        length[told["number"]] = told.pop("length") or 0
        shard = msgspec.convert(told, Shard)
        if not summary["complete"]:
            raise MergeError(
                f"shard {shard.number} was not read to its end ({summary['incomplete_because']}): clear its task, "
                "which goes on where it stopped, and then this one"
            )
        if shard.number in by_number:
            raise MergeError(f"shard {shard.number} is there twice: expected every shard once")
        by_number[shard.number] = shard, summary
    if not by_number:
        raise MergeError("there are no summaries: have the shards' tasks run?")
    _check_whole([shard for shard, _ in by_number.values()])
    found: list[_Done] = []
    offset = 0
    for number in sorted(by_number):
        shard, summary = by_number[number]
        absolute = shard.unit == "row_groups"
        not_applied = sum(summary[name] for name in NOT_APPLIED)
        found.append(_Done(shard, summary, 0 if absolute else offset, not_applied))
        offset += length[number]
    return found


def _check_whole(shards: Sequence[Shard]) -> None:
    first = shards[0]
    for shard in shards:
        if (shard.of, shard.unit, shard.size, shard.version) != (
            first.of,
            first.unit,
            first.size,
            first.version,
        ):
            raise MergeError(
                f"shards {first.number} and {shard.number} are not of one split: expected those of one file. Clear "
                "the task that splits it, and so all of them"
            )
    missing = sorted(set(range(1, first.of + 1)) - {shard.number for shard in shards})
    if missing:
        listed = ", ".join(map(str, missing[:20])) + (", ..." if len(missing) > 20 else "")
        raise MergeError(
            f"of {first.of} shards, {len(missing)} did not come to an end: {listed} (map index: one less). Clear their "
            "tasks, which go on where they stopped, and then this one"
        )
    ordered = sorted(shards, key=lambda shard: shard.number)
    for one, other in pairwise(ordered):
        if one.end != other.begin:
            raise MergeError(f"shards {one.number} and {other.number} do not adjoin: are they of one split?")


def _added_up(shards: Sequence[_Done]) -> dict[str, Any]:
    merged = dict(shards[0].summary)
    for name in merged:
        values = [value for done in shards if (value := done.summary[name]) is not None]
        if name in _ADDED:
            merged[name] = round(sum(values), 3)
        elif name in _ADDED_BY_NAME:
            merged[name] = dict(sum(map(Counter, values), Counter[str]()).most_common())
        elif name in _HIGHEST:
            merged[name] = max(values, default=None)
        elif name in _LOWEST:
            merged[name] = min(values, default=None)
        elif name in _ROWS:
            rows = [done.offset + row for done in shards if (row := done.summary[name]) is not None]
            merged[name] = max(rows, default=None)
    told = sum(merged[name] for name in OUTCOMES)
    if told != merged["read"]:
        raise ConservationError(
            f"{merged['read']} rows were read and {told} outcomes counted in {len(shards)} shards"
        )
    return {**merged, "shard": None, "shards": len(shards)}


def _assemble(shards: Sequence[_Done], target: Path, path_of: Callable[[str], Path]) -> list[Path]:
    """Put the shards' dead letters into one file; returns the parts, which are no longer needed."""
    without = [done.shard.number for done in shards if not done.summary["dead_letters"]]
    if without:
        raise MergeError(
            f"shard {without[0]} wrote no dead letters: expected dead_letters=... of its task, too"
        )
    parts = [path_of(done.summary["dead_letters"]) for done in shards]
    gone = [done.shard.number for done, part in zip(shards, parts, strict=True) if not part.exists()]
    if gone:
        expected = sum(done.not_applied for done in shards)
        if target.exists() and _lines_in(target) == expected:
            return parts  # merged before, and this task was cleared, or ended while it deleted them
        raise MergeError(f"the dead letters of shard {gone[0]} are gone: clear its task, and then this one")
    with target.open("w", encoding="utf-8") as file:
        for done, part in zip(shards, parts, strict=True):
            written = 0
            with part.open("r", encoding="utf-8") as letters:
                for line in letters:
                    file.write(_renumbered(line, done.offset))
                    written += 1
            if written != done.not_applied:
                raise MergeError(
                    f"shard {done.shard.number} counted {done.not_applied} rows that were not applied, and its file "
                    f"has {written} dead letters: was it written to meanwhile? Clear its task, and then this one"
                )
    return parts


def _renumbered(line: str, offset: int) -> str:
    letter = msgspec.json.decode(line)
    letter["row"] += offset
    return msgspec.json.encode(letter).decode() + "\n"


def _lines_in(path: Path) -> int:
    with path.open("r", encoding="utf-8") as file:
        return sum(1 for _ in file)
