"""Every reason that the package can give is described in plain words."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_hubprefs import bulk, hubspot
from airflow_provider_hubprefs.bulk.page import reasons
from airflow_provider_hubprefs.bulk.page.reasons import advice_on, advice_on_end

UNKNOWN, UNKNOWN_END = advice_on("NEVER_HEARD_OF"), advice_on_end("NeverHeardOfError")
NOT_AN_END = {"CellError", "AddressError", "BusyError", "TrustError", "HandshakeError"}
"""Errors that are one row's, or that others of the package stand for."""


def modules(*packages: object) -> Iterator[object]:
    for package in packages:
        for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):  # type: ignore[attr-defined]
            if not one.name.endswith("pacing.redis"):  # needs an extra
                yield importlib.import_module(one.name)


def categories() -> set[str]:
    """What stands where a category does, in the code of the package: the second word of an outcome, or an error's."""
    found = set()
    for module in modules(bulk, hubspot):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8"))):  # type: ignore[attr-defined]
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            places = {"Outcome": node.args[2:3], "CellError": node.args[:1]}.get(name, [])
            for place in [*places, *(each.value for each in node.keywords if each.arg == "category")]:
                value = (
                    place.value
                    if isinstance(place, ast.Constant)
                    else getattr(module, getattr(place, "id", ""), None)
                )
                if isinstance(value, str) and re.fullmatch(r"[A-Z_]+", value):
                    found.add(value)
    return found


def errors() -> set[str]:
    return {
        name
        for module in modules(bulk, hubspot)
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Exception) and not issubclass(value, Warning)
        if value.__module__ == module.__name__  # type: ignore[attr-defined]
    } - NOT_AN_END


def test_the_packages_own_categories_are_described() -> None:
    found = categories()
    assert {
        "INVALID_ADDRESS",
        "INVALID_STATUS",
        "RESUBSCRIBE_NOT_ALLOWED",
        "STATUS_UNKNOWN",
        "NOT_SEEN",
        "CANCELED",
    } <= found
    assert [name for name in sorted(found) if advice_on(name) == UNKNOWN] == []


@pytest.mark.parametrize(
    "category",
    [
        "OPERATION_PENDING",
        "OPERATION_LATER",
        "NOT_IN_ANSWER",
        "VALIDATION_ERROR",
        "OBJECT_NOT_FOUND",
        "MISSING_SCOPES",
        "no reason given",
        "400",
    ],
)
def test_other_categories_are_described(category: str) -> None:
    assert advice_on(category) != UNKNOWN


def test_why_a_run_ended_is_described() -> None:
    found = errors()
    assert {"MissingScopesError", "SourceChangedError", "BudgetError", "CheckpointError"} <= found
    assert [name for name in sorted(found) if advice_on_end(name) == UNKNOWN_END] == []
    assert advice_on_end("the account cannot afford it").means == "The account cannot afford it"
    assert advice_on_end(None) == UNKNOWN_END


def test_advice_is_made_of_sentences() -> None:
    for one in [*reasons._BY_CATEGORY.values(), *reasons._BY_ERROR.values(), UNKNOWN, UNKNOWN_END]:
        for text in one:
            assert re.fullmatch(r"[A-Za-z].{5,200}\.", text)
            assert text[0].isupper() or "=" in text.split(maxsplit=1)[0]
