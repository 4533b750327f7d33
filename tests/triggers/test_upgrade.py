"""Triggers that an earlier release has stored still run: ``golden/`` has what each release stores of each class.

A file there is never changed once its release is out; a release that adds an argument adds a file.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.models.trigger import Trigger
from airflow.triggers.base import BaseTrigger

from airflow_provider_hubprefs import __version__
from airflow_provider_hubprefs.get_provider_info import get_provider_info
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from tests.triggers.loop_guard import run_guarded

if TYPE_CHECKING:
    from airflow_provider_hubprefs.simulator import Simulator

JANE = "jane@example.com"
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
MODULES: list[str] = [
    module for entry in get_provider_info()["triggers"] for module in entry["python-modules"]
]
golden = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)


def class_of(classpath: str) -> type[BaseTrigger]:
    module, _, name = classpath.rpartition(".")
    found: type[BaseTrigger] = getattr(importlib.import_module(module), name)
    return found


def made_of(stored: dict[str, Any], **instead: Any) -> BaseTrigger:
    """The trigger that the triggerer makes of a row: encrypted, decrypted, inflated."""
    row = Trigger(classpath=stored["classpath"], kwargs={**stored["kwargs"], **instead})
    decrypted = Trigger._decrypt_kwargs(row.encrypted_kwargs)
    return class_of(row.classpath)(**decrypted)


def first_event(trigger: BaseTrigger) -> Any:
    async def first() -> Any:
        stream: Any = trigger.run()
        try:
            async with asyncio.timeout(30):
                return (await anext(stream)).payload
        finally:
            await stream.aclose()

    return run_guarded(first())


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.rpartition(".")[2])
def test_what_this_release_stores_is_there_for_the_next(module: str) -> None:
    classes = [
        one
        for one in vars(importlib.import_module(module)).values()
        if isinstance(one, type) and issubclass(one, BaseTrigger) and one.__module__ == module
    ]
    assert classes
    for one in classes:
        stored = json.loads(
            (GOLDEN[0].parent / f"{module.rpartition('.')[2]}-{__version__}.json").read_text()
        )
        assert class_of(stored["classpath"]) is one
        assert list(made_of(stored).serialize()[1]) == list(stored["kwargs"])


@golden
def test_what_a_release_stored_makes_the_same_trigger_today(path: Path) -> None:
    stored = json.loads(path.read_text())
    classpath, kwargs = made_of(stored).serialize()
    assert classpath == stored["classpath"]
    # Airflow knows an event trigger by its arguments in their order: what is new comes last.
    assert list(kwargs.items())[: len(stored["kwargs"])] == list(stored["kwargs"].items())
    assert all(value is None or isinstance(value, str | int | float | bool) for value in kwargs.values())


@golden
def test_a_release_that_stored_fewer_arguments_is_understood(path: Path) -> None:
    stored = json.loads(path.read_text())
    names = list(stored["kwargs"])
    parameters = inspect.signature(class_of(stored["classpath"])).parameters.values()
    required = sum(one.default is one.empty and one.name in names for one in parameters)
    assert required <= 2
    for last in range(required, len(names)):
        fewer = {name: stored["kwargs"][name] for name in names[:last]}
        made = made_of({**stored, "kwargs": fewer})
        assert list(made.serialize()[1]) == names
        assert fewer.items() <= made.serialize()[1].items()


@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize(
    "path", [path for path in GOLDEN if "operation-" in path.name], ids=lambda path: path.stem
)
@pytest.mark.parametrize("arguments", [None, 4], ids=["all", "fewer"])
def test_a_wait_that_a_release_began_ends(path: Path, arguments: int | None, hubspot: Simulator) -> None:
    stored = json.loads(path.read_text())
    brand = stored["kwargs"]["business_unit_id"]
    hubspot.load({"brands": [brand]})
    hubspot.opt_out(JANE)
    kwargs = {
        **dict(list(stored["kwargs"].items())[:arguments]),
        "encrypted": HubPrefsHook().encrypt_address(JANE),
    }
    event = first_event(made_of({**stored, "kwargs": kwargs}))
    assert event["status"] == "success"
    assert event["result"]["opted_out"] is True
    assert {request.method for request in hubspot.requests} == {"GET"}


@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize(
    "path", [path for path in GOLDEN if "batch-" in path.name], ids=lambda path: path.stem
)
@pytest.mark.parametrize("arguments", [None, 1], ids=["all", "fewer"])
def test_a_wait_for_many_that_a_release_began_ends(
    path: Path, arguments: int | None, hubspot: Simulator
) -> None:
    stored = json.loads(path.read_text())
    kwargs = {
        **dict(list(stored["kwargs"].items())[:arguments]),
        "encrypted": HubPrefsHook().encrypt_address(JANE),
    }
    late = arguments is None  # its deadline is long over
    event = first_event(made_of({**stored, "kwargs": {"poke_interval": 0.1, **kwargs}}))
    assert (event["status"], event["result"]) == ("success", {"asked_about": 1})
    assert (event["deadline"] is not None) == late
    assert {request.method for request in hubspot.requests} == {"GET"}


@pytest.mark.usefixtures("hubprefs_default")
@pytest.mark.parametrize(
    "path", [path for path in GOLDEN if "opt_out-" in path.name], ids=lambda path: path.stem
)
@pytest.mark.parametrize("arguments", [None, 2], ids=["all", "fewer"])
def test_a_watch_that_a_release_began_goes_on(
    path: Path, arguments: int | None, hubspot: Simulator, tmp_path: Path
) -> None:
    stored = json.loads(path.read_text())
    hubspot.opt_out(JANE)
    kwargs = dict(list(stored["kwargs"].items())[:arguments])
    event = first_event(made_of({**stored, "kwargs": kwargs}, output=f"file://{tmp_path}"))
    assert event["count"] == 1
    assert JANE in Path(event["list"].removeprefix("file://")).read_text()
