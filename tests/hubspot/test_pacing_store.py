"""Which pacer a process uses for a credential."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from airflow_provider_hubprefs.hubspot.pacing.pacers import ProcessPacer, Ticket
from airflow_provider_hubprefs.hubspot.pacing.shared import SharedPacer
from airflow_provider_hubprefs.hubspot.pacing.store import pacer_for, search_pacer
from airflow_provider_hubprefs.hubspot.transport.auth import OAuthRefresh, StaticToken
from airflow_provider_hubprefs.hubspot.transport.client import Client

from .conftest import TOKEN
from .pacing_workers import free_now, learned


def test_a_store_is_chosen_by_its_name(tmp_path: Path) -> None:
    assert isinstance(pacer_for("process", "chosen"), ProcessPacer)
    assert isinstance(pacer_for("file", "chosen"), SharedPacer)
    spaced = tmp_path / "a folder"
    learned(pacer_for(spaced.as_uri(), "chosen"))
    assert (spaced / "chosen.budget").is_file()


def test_one_store_and_credential_is_one_pacer(tmp_path: Path) -> None:
    assert pacer_for("process", "chosen") is pacer_for("process", "chosen")
    assert pacer_for("process", "chosen") is not pacer_for("process", "other")
    assert pacer_for("file", "chosen") is pacer_for("file", "chosen")
    assert pacer_for(tmp_path.as_uri(), "chosen") is not pacer_for("file", "chosen")
    assert pacer_for("process", "chosen", 0.5) is pacer_for("process", "chosen", 0.5)
    assert pacer_for("process", "chosen", 0.5) is not pacer_for("process", "chosen", 0.6)
    assert search_pacer("chosen") is search_pacer("chosen")
    assert search_pacer("chosen") is not search_pacer("other")


def test_one_credential_has_one_budget_and_two_have_two() -> None:
    def budget(auth: StaticToken | OAuthRefresh, port: int = 1) -> object:
        with Client(auth, host=f"http://127.0.0.1:{port}") as client:
            return client.pacer

    def app(refresh_token: str) -> OAuthRefresh:
        return OAuthRefresh(client_id="id", client_secret="secret", refresh_token=refresh_token)

    assert budget(StaticToken(TOKEN)) is budget(StaticToken(TOKEN))
    assert budget(StaticToken(TOKEN)) is not budget(StaticToken("other"))
    assert budget(StaticToken(TOKEN)) is not budget(StaticToken(TOKEN), 2)
    assert budget(app("one")) is budget(app("one"))
    assert budget(app("one")) is not budget(app("two"))


def test_hubspot_is_one_by_whatever_name_and_a_local_port_is_another() -> None:
    def budget(host: str | None) -> object:
        with Client(StaticToken(TOKEN), host=host) as client:
            return client.pacer

    names = [None, "api.hubapi.com", "https://api.hubapi.com:443", "api-eu1.hubapi.com"]
    assert len({id(budget(name)) for name in names}) == 1
    assert budget("http://localhost:8001") is budget("http://127.0.0.1:8001")
    assert budget("http://127.0.0.1:8001") is not budget("http://127.0.0.1:8002")
    assert budget("http://127.0.0.1:8001") is not budget(None)


def test_five_searches_go_in_a_second() -> None:
    assert free_now(search_pacer("searches")) == 5


@pytest.mark.parametrize(
    "store",
    [
        "",
        "postgres://x",
        "machine",
        "redis",
        "file:",
        "file://host/folder",
        "file:relative",
        "file:///x?y=1",
        "/tmp",
    ],
)
def test_a_store_that_does_not_exist_is_refused(store: str) -> None:
    with pytest.raises(ValueError, match="budget_store: expected"):
        pacer_for(store, "key")


def test_without_its_client_redis_names_the_extra() -> None:
    code = """
import sys
sys.modules["redis"] = None
from airflow_provider_hubprefs.hubspot.pacing.store import pacer_for
try:
    pacer_for("redis://localhost", "key")
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'airflow-provider-hubprefs[redis]'" in done.stdout


def test_without_a_writable_temporary_folder_a_process_warns_and_has_a_budget_of_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: none())

    pacer = pacer_for("file", "a key of this test alone")

    assert pacer.wait(Ticket()) == 0
    assert "cannot be shared (No usable temporary" in caplog.text
