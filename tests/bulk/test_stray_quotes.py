"""Quotes that an exporter did not close: what a person sees as a row is one, and what is a note stays one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.reader import read_rows
from airflow_provider_hubprefs.bulk.source.row import Counts
from tests.helpers import LONG, people

if TYPE_CHECKING:
    from pathlib import Path

ED, FAY, GIL = "ed@example.com", "fay@example.com", "gil@example.com"


def read(folder: Path, text: str, columns: Columns | None = None) -> tuple[list[tuple[int, str | None]], int]:
    """Number and address, or None where the row is invalid; and how many records span lines."""
    path = folder / "list.csv"
    path.write_text(text, newline="")
    counts = Counts()
    rows = list(read_rows(path, columns=columns or Columns(), counts=counts))
    return [(row.number, None if row.problem else row.subscriber) for row in rows], counts.multiline_records


@pytest.mark.parametrize(
    "text",
    [
        f'Company,Email,Note\r\nAcme,{ED},"\r\nBeta,{FAY},"\r\nCeta,{GIL},x\r\n',
        f'Email,Reason\n{ED},"too many mails\n{FAY},none\n{GIL},he said stop"\n',
        f'name,email\n"Al,{ED}\nBo,{FAY}\nCy",{GIL}\n',
        f'name,email\n"Al,{ED}\nBo,{FAY}\nCy,{GIL}\n',
        f'email,a,b\n{ED},"x,y\n{FAY},x,y\n{GIL},x",y\n',
        f'email;a\n{ED};12" screen\n{FAY};"15"" or 17"" screen"\n{GIL};"\n',
        f'"Name","Email","Note"\n"A","{ED}","x\n"B","{FAY}","y"\n"C","{GIL}",z"\n',
    ],
)
def test_rows_between_stray_quotes_are_rows(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == ([(2, ED), (3, FAY), (4, GIL)], 0)


@pytest.mark.parametrize("apart", [1, 2, 500, 899, 1500])
def test_however_far_apart_the_quotes_are(tmp_path: Path, apart: int) -> None:
    found = people(apart + 3)
    lines = [f"{one},r{at}" for at, one in enumerate(found)]
    lines[0], lines[apart] = f'{found[0]},"too many', f'{found[apart]},x"'
    rows, spanning = read(tmp_path, "Email,Reason\n" + "\n".join(lines) + "\n")
    assert (rows, spanning) == ([(at, one) for at, one in enumerate(found, start=2)], 0)


@pytest.mark.parametrize(
    "note",
    [
        "first\nsecond",
        f"Please write to\n{FAY} instead, she moved",
        f"Please write to\n{FAY}, my wife",
        f"On Monday {FAY}, wrote:\n> stop, please\n\nBye, E.",
        f"Also for:\n{FAY}\n{GIL}",
        "a,b\nc,d",
    ],
)
@pytest.mark.parametrize("order", ["email,note", "note,email", "email,note,x"])
def test_a_note_over_several_lines_is_one_cell(tmp_path: Path, note: str, order: str) -> None:
    cells = {"email": ED, "note": f'"{note}"', "x": "y"}
    text = f"{order}\n{','.join(cells[name] for name in order.split(','))}\n"
    text += ",".join({**cells, "email": "last@x.test", "note": "n"}[name] for name in order.split(","))
    rows, spanning = read(tmp_path, text)
    assert rows == [(2, ED), (2 + note.count("\n") + 1, "last@x.test")]
    assert spanning == 1


def test_where_only_some_lines_of_a_cell_look_like_rows_they_are_named_and_none_of_them_is_sent(
    tmp_path: Path,
) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f'email,note\n{ED},"see\nthis\n{FAY},my wife\nand that\nbye"\n{GIL},x\n')
    first, named, last = read_rows(path)
    assert (first.number, first.problem) == (2, None)
    assert (named.number, named.problem) == (4, "invalid")
    assert (
        named.detail
        == "stands in a quoted cell that begins in line 2, and looks like a row: is a quote missing?"
    )
    assert (last.number, last.subscriber) == (7, GIL)


def test_a_stray_quote_in_a_cell_that_is_read_makes_its_row_invalid(tmp_path: Path) -> None:
    text = f'email,status,why\n{ED},UNSUBSCRIBED,"said so\n{FAY},"UNSUBSCRIBED,x\n{GIL},UNSUBSCRIBED,x\n'
    columns = Columns(status="status", legal_basis_explanation="why")
    assert read(tmp_path, text, columns)[0] == [(2, None), (3, None), (4, GIL)]
    assert read(tmp_path, text, Columns(status="status"))[0] == [(2, ED), (3, None), (4, GIL)]


def test_a_swallowed_line_with_a_cell_too_long_for_csv_is_a_row_too(tmp_path: Path) -> None:
    text = f'email,note\n{ED},"x\n{FAY},{"y" * 200_000}\n{GIL},z"\n'
    assert read(tmp_path, text)[0] == [(2, ED), (3, FAY), (4, GIL)]
    text = f'email,note\n{ED},"x\n"{"y" * 200_000}\n{GIL},z\n'
    assert read(tmp_path, text)[0] == [(2, ED), (3, None), (4, GIL)]


@settings(
    max_examples=300 if LONG else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.sampled_from(["x", '"', '"x', 'x"', '""', 'x "y" z', ""]), min_size=1, max_size=12),
    st.booleans(),
)
def test_wherever_the_quotes_are_every_line_is_read_once(
    tmp_path: Path, notes: list[str], first: bool
) -> None:
    found = people(len(notes))
    rows = [(one, note) if first else (note, one) for one, note in zip(found, notes, strict=True)]
    header = "email,note\n" if first else "note,email\n"
    got, _ = read(tmp_path, header + "".join(f"{a},{b}\n" for a, b in rows))
    numbers = [number for number, _ in got]
    assert numbers == list(range(2, len(notes) + 2))
    assert [address for _, address in got if address] == found
