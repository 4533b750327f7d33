"""The documentation says what the code does: names, messages and numbers in ``docs/`` are compared with the package."""

from __future__ import annotations

import ast
import math
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_hubprefs.bulk.report.outcome import OUTCOMES
from airflow_provider_hubprefs.cli.definition import COMMANDS
from airflow_provider_hubprefs.get_provider_info import CONNECTION_FIELDS, get_provider_info
from airflow_provider_hubprefs.operators._bulk import RESULT
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = ROOT / "docs"
PACKAGE = ROOT / "airflow_provider_hubprefs"
PAGES = {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in DOCS.rglob("*.rst")}
EVERYTHING = "\n".join(PAGES.values())
GAP = "\0"
"""Stands for what differs from message to message."""

NOT_FOR_USERS = {
    "bulk/plan/actions.py": {"a row with a subscription and a status"},
    "bulk/source/formats.py": {"a Parquet file was opened as text"},
    "hubspot/api/models.py": {"nested too deeply"},
    "hubspot/api/times.py": {"expected an ISO 8601 time", "expected epoch milliseconds"},
    "hubspot/pacing/shared.py": {"wrong checksum"},
    "hubspot/privacy.py": {"expected a key, got an empty one", "encrypted with another key"},
    "hubspot/transport/client.py": {"the client for tasks waited for an event loop"},
    "hubspot/transport/connections.py": {"the head of the answer takes too long", "no handshake"},
    "hubspot/polling/poller.py": {"The waits on HubSpot are asked in time again"},
    "cli/output.py": {"nothing was sent"},
}
"""Messages that another one replaces before a user sees them, and those that are good news."""


def terms(page: str) -> list[str]:
    """Messages that a page explains: terms of its definition lists."""
    lines = [line for line in PAGES[page].splitlines() if line.startswith("``")]
    return [term for line in lines for term in re.findall(r"``(.+?)``(?=, ``|$)", line)]


@cache
def texts() -> dict[Path, list[str]]:
    """Every text in the package, module by module, with a gap for each value in it."""
    return {
        path: [
            re.sub(r"\{\w*\}|%[sdr]|%\.0f|%g", GAP, text) for text in _texts_in(ast.parse(path.read_text()))
        ]
        for path in PACKAGE.rglob("*.py")
        if "simulator" not in path.parts
    }


def _texts_in(tree: ast.AST) -> Iterator[str]:
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp) and id(node) not in documentation:
            yield _text(node)


def _text(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) or GAP for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            both = _text(left), _text(right)
            return "".join(part or GAP for part in both) if any(both) else ""
    return ""


def says(message: str, text: str) -> bool:
    """Whether a text of the package is what a message quotes: its parts in this order, anything for dots."""
    at = 0
    for part in filter(None, (part.strip(" ,") for part in re.split(r"\.{3,4}", message))):
        at = text.find(part, at) + len(part)
        if at < len(part):
            return False
    return True


def test_messages_that_are_quoted_are_in_the_package() -> None:
    every = "\1".join({text for found in texts().values() for text in found})

    def is_there(message: str) -> bool:
        longest = max((part.strip(" ,") for part in re.split(r"\.{3,4}", message)), key=len)
        found = (every.rfind("\1", 0, at.start()) for at in re.finditer(re.escape(longest), every))
        return any(says(message, every[at + 1 : every.find("\1", at + 1)]) for at in found)

    assert [message for message in terms("troubleshooting.rst") if not is_there(message)] == []


def errors_in(path: Path) -> Iterator[str]:
    """Messages of errors and warnings that a module makes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
        if re.search(r"(Error|Exception)$|^(usage|warning)$", name):
            found = next(filter(None, map(_text, node.args)), "")
            if len(found.replace(GAP, "")) > 12:
                yield re.sub(r"%[sdr]|%\.0f|%g", GAP, found)


def test_messages_that_a_user_can_meet_are_explained() -> None:
    known = terms("troubleshooting.rst")
    unexplained = []
    for path in texts():
        unneeded = NOT_FOR_USERS.get(str(path.relative_to(PACKAGE)), set())
        unexplained += [
            found.replace(GAP, "...")
            for found in errors_in(path)
            if not any(says(message, found) for message in known)
            and not any(text in found for text in unneeded)
        ]
    assert unexplained == []


def public_names() -> list[str]:
    """Full names of what provider info and the package's users import."""
    info = get_provider_info()
    modules = [
        name
        for kind in ("operators", "sensors", "hooks", "triggers")
        for one in info[kind]
        for name in one["python-modules"]
    ]
    modules += [f"{PACKAGE.name}.{name}" for name in ("exceptions", "hubspot.errors")]
    names = [
        f"{module}.{node.name}"
        for module in modules
        for node in ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    names += [one["class-name"] for one in info["task-decorators"]] + info["notifications"]
    return names


def test_public_classes_are_in_the_reference() -> None:
    api = PAGES["api.rst"]
    missing = [
        name
        for name in public_names()
        if name not in api and f"automodule:: {name.rpartition('.')[0]}\n" not in api
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("connections/hubprefs.rst", CONNECTION_FIELDS),
        ("runs.rst", RESULT),
        ("runs.rst", [f"*{name}*" for name in OUTCOMES]),
        ("example-dags.rst", [path.stem for path in (ROOT / "dags").glob("*.py")]),
        ("installation.rst", ["``parquet``", "``zstd``", "``redis``", "``simulator``"]),
    ],
    ids=["connection", "result", "outcomes", "DAGs", "extras"],
)
def test_a_page_names_all_there_are(page: str, names: list[str]) -> None:
    assert [name for name in names if name not in PAGES[page]] == []


def test_the_report_is_described_field_by_field() -> None:
    from airflow_provider_hubprefs.bulk.report.summary import Summary

    described = PAGES["runs.rst"] + "``schema``"
    assert [name for name in Summary.__annotations__ if f"``{name}``" not in described] == []


@pytest.mark.parametrize("directive", ["options", "reasons", "ends", "commands"])
def test_what_the_code_defines_is_not_written_by_hand(directive: str) -> None:
    assert f".. from-the-code:: {directive}\n" in EVERYTHING


def test_the_command_line_is_documented_from_its_parser() -> None:
    assert ":func: parser" in PAGES["cli.rst"]
    examples = re.findall(r"^   hubprefs (\w+)", EVERYTHING, re.MULTILINE)
    assert set(examples) <= {command.name for command in COMMANDS}


def test_metrics_and_spans_are_those_that_are_sent() -> None:
    sent = set()
    for path in texts():
        code = path.read_text(encoding="utf-8")
        sent |= set(re.findall(r'observer\.(?:count|gauge|lasted|span)\(f?"([a-z._]+)', code))
    documented = {
        name.removesuffix(".<outcome>")
        for name in re.findall(r"``hubprefs\.([a-z._<>]+)``", PAGES["metrics.rst"])
    }
    attributes = {"connection", "rows", "changed", *(f"rows.{name}" for name in OUTCOMES)}
    assert {name.rstrip(".") for name in sent} == documented - attributes | {"rows"}


_CUT = re.compile(
    r"literalinclude:: /\.\./dags/(\w+)\.py\n(?:   :\w[^\n]*\n)*?"
    r"   :start-after: (\[START (\w+)\])\n   :end-before: (\[END \3\])"
)


def test_snippets_are_cut_from_the_example_dags() -> None:
    cut = _CUT.findall(EVERYTHING)
    for dag, start, _, end in cut:
        text = (ROOT / "dags" / f"{dag}.py").read_text()
        assert text.count(start) == text.count(end) == 1
    named = {name for _, _, name, _ in cut}
    there = re.findall(r"\[START (\w+)\]", "".join(path.read_text() for path in (ROOT / "dags").glob("*.py")))
    assert named == set(there)
    assert EVERYTHING.count("literalinclude::") == len(cut)


def rows_of(name: str) -> list[list[str]]:
    """Cells of a table of the page about the budget, without its header."""
    table = PAGES["budget.rst"].partition(f":name: {name}\n")[2].partition("\n\n")[0]
    return [re.findall(r"- (\S+)$", row, re.MULTILINE) for row in table.split("   * ")[2:]]


@pytest.mark.parametrize(
    ("name", "batch", "a_second", "a_day", "passes"),
    [("budget-batches", 100, 19, 1_000_000, (1, 2)), ("budget-single", 1, 10, 250_000, (1,))],
    ids=["batches", "single calls"],
)
def test_the_arithmetic_of_the_budget_is_right(
    name: str, batch: int, a_second: int, a_day: int, passes: tuple[int, ...]
) -> None:
    from airflow_provider_hubprefs.bulk.send.daily_budget import RESERVE

    assert len(rows_of(name)) > 2
    for row in rows_of(name):
        subscribers = int(row[0].replace(",", ""))
        expected = [f"{subscribers:,}"]
        for times in passes:
            requests = times * math.ceil(subscribers / batch)
            days = math.ceil(requests / (a_day * (1 - RESERVE)))
            expected += [f"{requests:,}", f"{requests / a_second / 3600:.2f}", str(days)]
        assert row == expected


def test_the_theme_gets_no_file_from_elsewhere() -> None:
    import runpy

    import sphinx_airflow_theme

    foreign = runpy.run_path(str(DOCS / "_ext" / "hubprefs_docs.py"))["FOREIGN"]
    theme = Path(sphinx_airflow_theme.__file__).parent
    head = (theme / "layout.html").read_text().partition("{%- macro css")[2]
    styles = "".join(path.read_text() for path in theme.glob("static/_gen/css/*.css"))
    loads = re.compile(r"analytics\.apache|airflow\.apache\.org|@import|url\(\"?/")
    assert loads.search(head)
    assert loads.search(styles)
    assert not loads.search(foreign.sub("", head))
    assert not loads.search(foreign.sub("", styles))


def test_search_knows_where_pages_are() -> None:
    assert 'data-content_root="' in (DOCS / "_templates" / "layout.html").read_text()
