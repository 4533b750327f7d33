"""One summary of those of all shards: nothing is missing in it, and nothing is there twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_hubprefs.bulk.merge import MergeError, merge
from airflow_provider_hubprefs.bulk.report import OUTCOMES, ConservationError, Report

SIZE = 400


def summary_of(folder: Path, number: int, *, of: int = 4, rows: int = 10, **told: Any) -> dict[str, Any]:
    """Of a shard of ``rows`` lines, the last of which is invalid."""
    letters = folder / f"letters.shard-{number:04}.jsonl"
    letters.write_text(json.dumps({"row": rows, "subscriber": f"nobody {number}"}) + "\n")
    step = SIZE // of
    shard = {"number": number, "of": of, "unit": "bytes", "begin": step * (number - 1), "end": step * number}
    return {
        **Report().summary(),
        "read": rows,
        "changed": rows - 1,
        "invalid": 1,
        "reasons": {"invalid: INVALID_ADDRESS": 1},
        "complete": True,
        "tries": number,
        "operations": {"COMPLETE": 1},
        "requests": 3,
        "throttled": number,
        "latency_p95_ms": 10.0 * number,
        "dead_letters": str(letters),
        "shard": {**shard, "rows_before": 0, "size": SIZE, "version": "1", "length": rows},
        **told,
    }


def merged(summaries: list[dict[str, Any]], **places: Any) -> dict[str, Any]:
    return merge(summaries, path_of=Path, **places)


def test_counts_are_added_and_rows_numbered_as_in_the_file(tmp_path: Path) -> None:
    summaries = [summary_of(tmp_path, number, rows=10 * number) for number in (3, 1, 4, 2)]
    letters, report = tmp_path / "letters.jsonl", tmp_path / "report.json"
    found = merged(summaries, dead_letters=letters, report_to=report)
    assert {name: found[name] for name in ("read", "changed", "invalid", "requests", "throttled")} == {
        "read": 100,
        "changed": 96,
        "invalid": 4,
        "requests": 12,
        "throttled": 10,
    }
    assert found["reasons"] == {"invalid: INVALID_ADDRESS": 4}
    assert found["operations"] == {"COMPLETE": 4}
    assert (found["tries"], found["latency_p95_ms"], found["shards"], found["shard"]) == (4, 40.0, 4, None)
    told = [json.loads(line) for line in letters.read_text().splitlines()]
    assert [(letter["row"], letter["subscriber"]) for letter in told] == [
        (10, "nobody 1"),
        (30, "nobody 2"),
        (60, "nobody 3"),
        (100, "nobody 4"),
    ]
    assert json.loads(report.read_text()) == found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letters.jsonl", "report.json"]


def test_merging_again_changes_nothing(tmp_path: Path) -> None:
    summaries = [summary_of(tmp_path, number) for number in range(1, 5)]
    letters = tmp_path / "letters.jsonl"
    first = merged(summaries, dead_letters=letters)
    before = letters.read_text()
    assert merged(summaries, dead_letters=letters) == first
    assert letters.read_text() == before


def test_a_merge_that_was_ended_while_it_deleted_parts_is_taken_up(tmp_path: Path) -> None:
    summaries = [summary_of(tmp_path, number) for number in range(1, 5)]
    left = Path(summaries[3]["dead_letters"])
    content = left.read_text()
    merged(summaries, dead_letters=tmp_path / "letters.jsonl")
    left.write_text(content)
    merged(summaries, dead_letters=tmp_path / "letters.jsonl")
    assert not left.exists()
    assert len((tmp_path / "letters.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("numbers", "says"),
    [([1, 2, 4], r"of 4 shards, 1 did not come to an end: 3 "), ([2], "3 did not"), ([], "no summaries")],
)
def test_missing_shards_are_named(tmp_path: Path, numbers: list[int], says: str) -> None:
    with pytest.raises(MergeError, match=says):
        merged([summary_of(tmp_path, number) for number in numbers])


def test_a_shard_that_is_there_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="shard 2 is there twice"):
        merged([summary_of(tmp_path, number) for number in (1, 2, 2, 3)])


@pytest.mark.parametrize(
    ("name", "value"), [("size", 7), ("version", "2"), ("of", 5), ("unit", "row_groups")]
)
def test_shards_of_two_splits_are_named(tmp_path: Path, name: str, value: Any) -> None:
    summaries = [summary_of(tmp_path, number) for number in range(1, 5)]
    summaries[2]["shard"][name] = value
    with pytest.raises(MergeError, match="shards 1 and 3 are not of one split"):
        merged(summaries)


def test_shards_that_do_not_adjoin_are_named(tmp_path: Path) -> None:
    summaries = [summary_of(tmp_path, number) for number in range(1, 5)]
    summaries[2]["shard"]["begin"] += 1
    with pytest.raises(MergeError, match="shards 2 and 3 do not adjoin"):
        merged(summaries)


def test_a_shard_that_did_not_come_to_its_end_is_named(tmp_path: Path) -> None:
    summaries = [summary_of(tmp_path, number) for number in range(1, 5)]
    summaries[1].update(complete=False, incomplete_because="budget")
    with pytest.raises(MergeError, match=r"shard 2 was not read to its end \(budget\)"):
        merged(summaries)


def test_a_summary_of_no_shard_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="of no shard"):
        merged([summary_of(tmp_path, 1, shard=None)])


def test_outcomes_that_do_not_add_up_are_an_error(tmp_path: Path) -> None:
    summaries = [summary_of(tmp_path, number) for number in range(1, 5)]
    summaries[0]["read"] += 1
    with pytest.raises(ConservationError, match="41 rows were read and 40 outcomes counted in 4 shards"):
        merged(summaries)


@pytest.mark.parametrize("damage", ["gone", "short", "none"])
def test_dead_letters_that_are_not_whole_are_an_error(tmp_path: Path, damage: str) -> None:
    summaries = [summary_of(tmp_path, number) for number in range(1, 5)]
    letters = Path(summaries[2]["dead_letters"])
    if damage == "gone":
        letters.unlink()
    elif damage == "short":
        letters.write_text("")
    else:
        summaries[2]["dead_letters"] = None
    with pytest.raises(MergeError, match="shard 3") as caught:
        merged(summaries, dead_letters=tmp_path / "letters.jsonl")
    assert "nobody" not in str(caught.value)
    assert Path(summaries[0]["dead_letters"]).exists()


def test_every_figure_of_a_summary_is_merged_somehow(tmp_path: Path) -> None:
    found = merged([summary_of(tmp_path, number) for number in range(1, 5)])
    assert set(found) == set(Report().summary())
    assert found["read"] == sum(found[name] for name in OUTCOMES)
