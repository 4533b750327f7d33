"""Settings that cannot work are refused, with the name of the setting."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from airflow_provider_hubprefs.hubspot.errors import SettingsError
from airflow_provider_hubprefs.hubspot.settings import Settings

NAMES = [field.name for field in fields(Settings)]


def make(name: str, value: object) -> Settings:
    arguments: dict[str, Any] = {name: value}
    return Settings(**arguments)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf"), "10", None, True])
def test_a_setting_is_a_finite_number_of_at_least_nothing(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=name):
        make(name, value)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "max_answer_bytes"])
def test_seconds_that_were_meant_as_milliseconds_are_refused(name: str) -> None:
    assert getattr(make(name, 86_400), name) == 86_400
    with pytest.raises(SettingsError, match="at most 86400 seconds"):
        make(name, 86_401)


@pytest.mark.parametrize("name", ["connect_timeout", "read_timeout", "max_answer_bytes"])
def test_a_call_cannot_be_told_to_hang_for_ever(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: expected more than 0"):
        make(name, 0)


@pytest.mark.parametrize("name", ["retry_total", "migrating_max_wait", "retry_first_wait"])
def test_waits_may_be_nothing(name: str) -> None:
    assert getattr(make(name, 0), name) == 0


def test_the_read_timeout_is_longer_than_hubspots_own() -> None:
    assert Settings().read_timeout > 100
