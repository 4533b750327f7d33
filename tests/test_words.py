"""Plain words: those that the project does not use are in no name, log line, error text, docstring or document."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

RULED_OUT = {
    "mark": "checkpoint or cursor",
    "seal": "encrypt",
    "told": "emitted, reported, or a name for the value",
    "strange": "unknown",
    "pardon": "tolerate",
    "reveal": "render",
    "patience": "timeout",
    "telling": "refused alike",
    "judge": "a verb for what the function does",
    "whoever": "the actor: task, worker, triggerer, DAG author, HubSpot",
    "nobody": "the actor, or: no task, no process",
    "somebody": "the actor",
}
"""Each with what to write instead."""

FORMS = re.compile(
    r"(?P<mark>marks?)|(?P<seal>(?:un)?seal(?:s|ed|ing)?)|(?P<told>(?:un)?told)|(?P<strange>strange(?:ly|st)?)"
    r"|(?P<pardon>pardon(?:s|ed|ing)?)|(?P<reveal>reveal(?:s|ed|ing)?)|(?P<patience>(?:im)?patien(?:ce|t|tly))"
    r"|(?P<telling>telling)|(?P<judge>judg(?:e|es|ed|ing|e?ments?))|(?P<whoever>who(?:m|se)?(?:so)?ever)"
    r"|(?P<nobody>nobody)|(?P<somebody>somebody)"
)
MEANS_SOMETHING_ELSE = re.compile(
    r"pytest\.mark|mark_(?:delivered|failed|success)|(?:question|quotation|byte[ -]order|trade|check) marks?"
    r"|[Mm]arks? (?:it |them |the task |a task |as )*(?:failed|success)",
)
"""Names of other projects, fixed expressions, and what Airflow calls it when a user sets a task's state."""
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""A word of prose, or a part of ``snake_case`` or ``CamelCase``."""

FILES = sorted(
    path
    for folder in ("airflow_provider_hubprefs", "dags", "demo", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".md", ".rst"} and not {".venv", "_build"} & {*path.parts}
)


def ruled_out(text: str) -> list[str]:
    """Words that the project does not use, each with its line and what to write instead."""
    return [
        f"{number}: {word} -> {RULED_OUT[form.lastgroup or '']}"
        for number, line in enumerate(text.splitlines(), start=1)
        for word in WORD.findall(MEANS_SOMETHING_ELSE.sub("", line))
        if (form := FORMS.fullmatch(word.lower()))
    ]


@pytest.mark.parametrize("path", [ROOT / "README.md", *FILES], ids=lambda path: str(path.relative_to(ROOT)))
def test_only_plain_words_are_used(path: Path) -> None:
    if found := ruled_out(path.read_text(encoding="utf-8")):
        pytest.fail("\n".join([str(path.relative_to(ROOT)), *found]), pytrace=False)


@pytest.mark.parametrize(
    "text",
    [
        "# Nobody asks.",
        "def judge_row(mark): ...",
        "class SealedAddress:",
        "self._told = untold",
        "BatchJudge.unsealed",
        'raise ValueError("whoever it is")',
        "PATIENCE = 3",
        "marks = []",
    ],
)
def test_words_and_parts_of_names_are_found(text: str) -> None:
    assert ruled_out(text)


@pytest.mark.parametrize(
    "text",
    [
        "@pytest.mark.parametrize",
        "from rich.markup import escape",
        "bookmark, benchmark, watermark, remarkable",
        "cursor.mark_delivered(number)",
        "a task that is marked failed",
        "starts with a byte order mark",
        "sealion, toldo, strangers, outpatient, prejudge",
    ],
)
def test_false_friends_are_not(text: str) -> None:
    assert ruled_out(text) == []
