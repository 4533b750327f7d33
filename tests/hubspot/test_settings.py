"""Settings that cannot work are refused, with the name of the setting."""

from __future__ import annotations

import pytest

from airflow_provider_hubprefs.hubspot.errors import SettingsError
from airflow_provider_hubprefs.hubspot.transport.settings import Settings, settings_from

NAMES = Settings.__struct_fields__


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value", [-1, -0.001, float("nan"), "nan", float("inf"), "inf", "soon", "", None, True, [1], {}]
)
def test_a_setting_is_a_finite_number_of_at_least_0(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=rf"^{name}: expected `(float|int)`"):
        settings_from({name: value})


@pytest.mark.parametrize("name", NAMES)
def test_a_number_may_be_text(name: str) -> None:
    assert settings_from({name: "7"}) == settings_from({name: 7}) == settings_from({name: 7.0})


@pytest.mark.parametrize("name", [name for name in NAMES if name != "max_answer_bytes"])
def test_seconds_that_were_meant_as_milliseconds_are_refused(name: str) -> None:
    assert getattr(settings_from({name: 86_400}), name) == 86_400
    with pytest.raises(
        SettingsError, match=r"expected `float` <= 86400\.0 \(times are seconds, at most a day\)"
    ):
        settings_from({name: 86_401})


@pytest.mark.parametrize("name", ["connect_timeout", "read_timeout", "max_answer_bytes"])
def test_a_call_cannot_be_made_to_hang_for_ever(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{name}: expected `(float` > 0\.0|int` >= 1)"):
        settings_from({name: 0})


@pytest.mark.parametrize("name", ["retry_total", "migrating_max_wait", "retry_first_wait"])
def test_waits_may_be_nothing(name: str) -> None:
    assert getattr(settings_from({name: 0}), name) == 0


def test_a_value_comes_before_its_default_and_other_names_are_ignored() -> None:
    defaults = Settings(read_timeout=7.0, retry_total=8.0)
    assert settings_from({"read_timeout": 9, "api_version": "v4"}, defaults=defaults) == Settings(
        read_timeout=9.0, retry_total=8.0
    )


def test_the_read_timeout_is_longer_than_hubspots_own() -> None:
    assert Settings().read_timeout > 100
