"""What the pages show: the report, or why there is none; nothing outside of the configured folder; no script."""

from __future__ import annotations

import json
import os
import re
from threading import BoundedSemaphore, Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import pytest

from tests.system.leaks import leaks
from tests.ui.conftest import FOLDER, KEY, PAGE, REPORT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fsspec.implementations.memory import MemoryFileSystem

SECRET = "secret.person@example.com"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def viewer(client: Any) -> Any:
    return client("viewer")


def known_of(folder: object, **more: Any) -> dict[str, Any]:
    return {
        "folder": folder,
        "connection": "hubprefs_default",
        "state": "complete",
        "read": 41,
        "changed": 41,
        **more,
    }


class TestTheRun:
    def test_is_shown_with_masked_dead_letters(self, viewer: Any, run: Path) -> None:
        for name in ("page", "fragment", "report.html"):
            reply = viewer.get(PAGE + name)
            assert "7,891" in reply.text, name
            assert "secret.person" not in reply.text
            assert "s***@e***.com" in reply.text
            assert ("<html" in reply.text) == (name != "fragment")

    def test_is_there_as_json(self, viewer: Any, run: Path) -> None:
        assert viewer.get(PAGE + "report.json").json()["reasons"] == REPORT["reasons"]

    def test_shows_no_address_wherever_hubspot_or_a_file_s_name_has_one(self, viewer: Any, run: Path) -> None:
        hostile = {name: SECRET for name in REPORT if type(REPORT[name]) is str}
        more = {
            "source_names": [f"{SECRET}.csv"],
            "reasons": {f"rejected: {SECRET}": 2},
            "incomplete_because": f"no %73{SECRET.replace('@', '%40')}",
            "run": {"run_id": f"manual__{SECRET}"},
            "report": f"s3://conn@bucket/{SECRET}/report.json",
            "latency_p50_ms": float("nan"),
        }
        (run / "report.json").write_text(json.dumps({**REPORT, **hostile, **more}))
        for name in ("page", "fragment", "report.html", "report.json"):
            reply = viewer.get(PAGE + name)
            assert reply.status_code == 200, name
            assert not leaks(reply.content, ["secret.person"]), name
            assert "conn@" not in reply.text
        json.loads(reply.text, parse_constant=pytest.fail)

    def test_is_that_of_the_map_index(self, viewer: Any, record: Any, output: Path) -> None:
        for index in (0, 3):
            folder = output / FOLDER / str(index)
            folder.mkdir(parents=True)
            (folder / "report.json").write_text(
                json.dumps({**REPORT, "read": 1000 + index, "changed": 886 + index})
            )
            record(map_index=index, known=known_of(str(folder)))
        assert "1,003" in viewer.get(PAGE.replace("{MAP_INDEX}", "3") + "page").text
        assert "1,000" in viewer.get(PAGE.replace("{MAP_INDEX}", "0") + "page").text
        assert "not begun" in viewer.get(PAGE + "page").text

    def test_has_its_dead_letters_to_download_piece_by_piece(self, viewer: Any, run: Path) -> None:
        content = b'{"row":1}\n' * 100_000
        (run / "dead_letters.jsonl").write_bytes(content)
        with viewer.stream("GET", PAGE + "download") as reply:
            assert reply.headers["Content-Disposition"] == (
                'attachment; filename="dead_letters-mine-manual__2026-11-25T10_00_00_00_00-opt_out.jsonl"'
            )
            assert "Content-Length" not in reply.headers
            assert b"".join(reply.iter_bytes()) == content

    @pytest.mark.parametrize(
        ("index", "state", "says"),
        [
            ("-1", "success", "no dead letters of this run"),
            ("3", "running", "no dead letters yet: they are put together when the run ends or waits"),
            ("4", "up_for_retry", "no dead letters yet"),
        ],
        ids=["ended", "running", "retry"],
    )
    def test_without_dead_letters_says_so_and_leads_back(  # noqa: PLR0917 - fixtures
        self, viewer: Any, record: Any, run: Path, index: str, state: str, says: str
    ) -> None:
        (run / "dead_letters.jsonl").unlink()
        if mapped := index != "-1":
            record(map_index=int(index), state=state, known=known_of(str(run / index)))
        where = PAGE.replace("{MAP_INDEX}", index) + "download"
        reply = viewer.get(where)
        assert (reply.status_code, says in reply.text) == (404, True)
        (back,) = re.findall(r'href="([^"]+)"', reply.text)
        task = "/dags/mine/runs/manual__2026-11-25T10%3A00%3A00%2B00%3A00/tasks/opt_out"
        assert urljoin(f"/base{where}", back) == f"/base{task}{f'/mapped/{index}' * mapped}/plugin/hubprefs"

    def test_that_was_killed_is_not_shown_as_running(self, viewer: Any, run: Path, session: Any) -> None:
        (run / "report.json").write_text(json.dumps({**REPORT, "state": "running", "complete": False}))
        assert "Ended early" in viewer.get(PAGE + "page").text

    def test_can_be_in_an_object_store(
        self, viewer: Any, record: Any, monkeypatch: pytest.MonkeyPatch, memory: MemoryFileSystem
    ) -> None:
        monkeypatch.setenv("AIRFLOW__HUBPREFS__OUTPUT", "memory://bucket/out/")
        for there in ("out", "out-evil"):
            memory.pipe(f"/bucket/{there}/{FOLDER}/report.json", json.dumps(REPORT).encode())
        record(known=known_of(f"memory://bucket/out/{FOLDER}"))
        assert "7,891" in viewer.get(PAGE + "page").text
        memory.rm(f"/bucket/out/{FOLDER}/report.json")
        assert "7,891" not in viewer.get(PAGE + "page").text


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    from airflow.sdk.io import attach
    from fsspec.implementations.memory import MemoryFileSystem

    fs = MemoryFileSystem()
    attach("memory", fs=fs)
    yield fs
    MemoryFileSystem.store.clear()


class TestWhatAnXComSays:
    """Its author may not read with it what the API server can read."""

    FOLDERS = (
        "{out}/../outside/" + FOLDER,
        "{out}/mine/../../outside/" + FOLDER,
        "{outside}/" + FOLDER,
        "{out}-evil/" + FOLDER,
        "file://{out}/" + FOLDER,
        "FILE://{out}/" + FOLDER,
        "{out}/./" + FOLDER,
        "{out}//" + FOLDER,
        "{OUT}/" + FOLDER,
        "{out}/%2e%2e/outside/" + FOLDER,
        "{out}/link/" + FOLDER,
        "{out}/" + FOLDER + "/..",
        "{out}/theirs/run/task",
        "{out}/" + FOLDER + "/0",
        "{out}",
        "s3://conn@bucket/" + FOLDER,
        "memory://{out}/" + FOLDER,
        "http://169.254.169.254/" + FOLDER,
        "/etc",
        "s3://[x",
        "s3://a:b@[::1",
        "",
        "\0",
        "x" * 100_000,
    )

    @pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: ascii(folder[:40]))
    def test_leads_nowhere_else(self, viewer: Any, record: Any, output: Path, folder: str) -> None:
        outside = output.parent / "outside"
        link = output / "link"
        link.symlink_to(outside)
        places = {"out": str(output), "OUT": str(output).upper(), "outside": str(outside)}
        for place in (outside, output.parent / "out-evil", output / "theirs/run/task", output):
            where = place if place == output or "theirs" in str(place) else place / FOLDER
            where.mkdir(parents=True, exist_ok=True)
            (where / "report.json").write_text(json.dumps(REPORT))
            (where / "dead_letters.jsonl").write_text('{"row":1,"subscriber":"secret.person@example.com"}')
        record(known=known_of(folder.format(**places)))
        for name in ("page", "fragment", "report.html", "report.json"):
            reply = viewer.get(PAGE + name)
            assert reply.status_code == 200
            assert "7,891" not in reply.text
            assert "7891" not in reply.text
            assert "41" in reply.text  # what the XCom knows
            assert "***" not in reply.text
        reply = viewer.get(PAGE + "download")
        assert (reply.status_code, "secret" in reply.text) == (404, False)

    def test_may_be_a_folder_further_below(self, viewer: Any, record: Any, output: Path) -> None:
        folder = output / "team" / FOLDER
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(json.dumps(REPORT))
        record(known=known_of(str(folder)))
        assert "7,891" in viewer.get(PAGE + "page").text

    @pytest.mark.parametrize("name", ["report.json", "dead_letters.jsonl"])
    def test_counts_only_for_files(self, viewer: Any, run: Path, name: str) -> None:
        secret = run.parent / "secret"
        secret.write_text(json.dumps({**REPORT, "read": 666}))
        makes: Any = (
            lambda: (run / name).symlink_to(secret),
            lambda: os.mkfifo(run / name),
            (run / name).mkdir,
        )
        for make in makes:
            (run / name).rmdir() if (run / name).is_dir() else (run / name).unlink()
            make()
            assert "666" not in viewer.get(PAGE + "page").text
            assert "666" not in viewer.get(PAGE + "download").text

    @pytest.mark.parametrize(
        "known",
        [
            None, 1, "text", "[" * 100_000, [], {}, {"folder": 1}, {"folder": [SCRIPT], "read": "1", "portal": True},
            {"folder": None, "connection": SCRIPT, "state": SCRIPT, "write": SCRIPT, "because": SCRIPT},
            {"read": -1, "changed": 1e400, "budget": {"daily": SCRIPT}}, {"budget": [], "connection": {}},
            json.dumps({"read": 41, "changed": 41}),
        ],
        ids=lambda known: ascii(known)[:30],
    )  # fmt: skip
    def test_may_be_anything(self, viewer: Any, record: Any, output: Path, known: Any) -> None:
        record(known=known)
        for page in (PAGE + "page", "/hubprefs/recent", PAGE + "report.json", PAGE + "download"):
            reply = viewer.get(page)
            assert reply.status_code in {200, 404}
            assert "<script>alert" not in reply.text or page.endswith("json")

    def test_says_which_store_cannot_be_read_without_its_secrets(
        self, viewer: Any, record: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW__HUBPREFS__OUTPUT", "s3://key:secret@bucket/out")
        record(known=known_of(f"s3://key:secret@bucket/out/{FOLDER}", portal=4711))
        text = viewer.get(PAGE + "page").text
        assert "s3://bucket/out" in text
        assert "secret" not in text
        assert "41" in text

    @pytest.mark.parametrize("configured", ["out", "./out", "file://out", "../out"])
    def test_a_relative_configured_folder_is_not_read(
        self, viewer: Any, run: Path, output: Path, monkeypatch: pytest.MonkeyPatch, configured: str
    ) -> None:
        monkeypatch.chdir(output.parent)
        monkeypatch.setenv("AIRFLOW__HUBPREFS__OUTPUT", configured)
        text = viewer.get(PAGE + "page").text
        assert "is relative" in text
        assert "7,891" not in text

    @pytest.mark.parametrize("configured", ["file://{}", "{}/", "{}/.", "local://{}"])
    def test_the_configured_folder_may_be_spelt_in_another_way(
        self, viewer: Any, run: Path, output: Path, monkeypatch: pytest.MonkeyPatch, configured: str
    ) -> None:
        monkeypatch.setenv("AIRFLOW__HUBPREFS__OUTPUT", configured.format(output))
        assert "7,891" in viewer.get(PAGE + "page").text

    def test_its_connection_is_not_the_one_that_opens_a_store(
        self, viewer: Any, record: Any, monkeypatch: pytest.MonkeyPatch, memory: MemoryFileSystem
    ) -> None:
        monkeypatch.setenv("AIRFLOW__HUBPREFS__OUTPUT", "memory://bucket/out")
        memory.pipe(f"/bucket/out/{FOLDER}/report.json", json.dumps(REPORT).encode())
        record(known=known_of(f"memory://mine@bucket/out/{FOLDER}"))
        assert "7,891" in viewer.get(PAGE + "page").text

    @pytest.mark.parametrize("name", ["page", "fragment", "report.html", "report.json", "download"])
    @pytest.mark.parametrize(
        "error", [OSError(5, f"no {SECRET}"), OSError(5, 5), ValueError(SECRET)], ids=repr
    )
    def test_an_error_of_a_store_shows_no_address(
        self, viewer: Any, run: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
    ) -> None:
        def fail(*_: Any) -> None:
            raise error

        monkeypatch.setattr("airflow_provider_hubprefs.ui.store._opened_below", fail)
        reply = viewer.get(PAGE + name)
        assert reply.status_code == (404 if name == "download" else 200)
        assert "secret.person" not in reply.text

    def test_a_store_that_does_not_answer_keeps_no_thread(
        self, viewer: Any, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answered = Event()
        monkeypatch.setattr("airflow_provider_hubprefs.ui.store.LONGEST", 0.1)
        monkeypatch.setattr("airflow_provider_hubprefs.ui.store._waits", BoundedSemaphore(2))
        monkeypatch.setattr("airflow_provider_hubprefs.ui.store._opened_below", lambda *_: answered.wait(30))
        try:
            texts = [viewer.get(PAGE + "fragment").text for _ in range(3)]
        finally:
            answered.set()
        assert ["has not answered" in text for text in texts] == [True, True, False]
        assert "too many pages wait" in texts[2]

    def test_says_that_a_disk_is_not_the_servers_own(
        self, viewer: Any, record: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("AIRFLOW__HUBPREFS__OUTPUT", f"{tmp_path}/nowhere")
        record(known=known_of(f"{tmp_path}/nowhere/{FOLDER}"))
        assert "shared volume or an object store" in viewer.get(PAGE + "page").text
        monkeypatch.delenv("AIRFLOW__HUBPREFS__OUTPUT")
        assert "set [hubprefs] output" in viewer.get(PAGE + "page").text


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 5_000, b" " * 5_000_001,
        json.dumps({**REPORT, "read": SCRIPT, "reasons": [SCRIPT], "history": SCRIPT, "run": 7, "portal": {}}).encode(),
        json.dumps({name: [SCRIPT] for name in REPORT}).encode(),
        json.dumps({**REPORT, "reasons": {f"rejected: {SCRIPT}": 2}, "write": SCRIPT}).encode(),
        b'{"read": NaN, "changed": Infinity, "history": [[1e999, NaN, null, 3, 4]]}',
    ],
    ids=lambda content: ascii(content[:20]),
)  # fmt: skip
def test_a_report_may_be_anything(viewer: Any, run: Path, content: bytes) -> None:
    (run / "report.json").write_bytes(content)
    for name in ("page", "fragment", "report.html", "report.json"):
        reply = viewer.get(PAGE + name)
        assert reply.status_code == 200, name
        assert "<script>alert" not in reply.text or name == "report.json"


def test_a_page_runs_no_script_but_its_own(viewer: Any, run: Path) -> None:
    for page in (PAGE + "page", "/hubprefs/recent"):
        replies = [viewer.get(page) for _ in range(2)]
        policies = [reply.headers["Content-Security-Policy"] for reply in replies]
        assert policies[0] != policies[1]
        for reply, policy in zip(replies, policies, strict=True):
            nonce = policy.partition("'nonce-")[2].partition("'")[0]
            assert reply.text.count(f'nonce="{nonce}"') == reply.text.count("<script") + reply.text.count(
                "<style"
            )
            assert " style=" not in reply.text
            assert " onclick=" not in reply.text
    policy = viewer.get(PAGE + "report.html").headers["Content-Security-Policy"]
    assert "script-src 'none'" in policy
    assert policy.endswith("; sandbox")


class TestWithoutAReport:
    def test_a_single_write_shows_what_its_xcom_says(self, viewer: Any, record: Any) -> None:
        known = {
            "folder": None,
            "connection": "hubprefs_default",
            "state": "complete",
            "outcome": "changed",
            "changed": 1,
        }
        record(operator="HubPrefsUnsubscribeAllOperator", known=known)
        text = viewer.get(PAGE + "page").text
        assert "1 subscriber" in text
        assert "hubprefs_default" in text

    def test_a_run_without_output_says_what_to_set(self, viewer: Any, record: Any) -> None:
        known = known_of(None, read=42, invalid=1, done="opted out", reasons={"invalid: INVALID_ADDRESS": 1})
        record(known=known)
        text = viewer.get(PAGE + "page").text
        assert "No report and no dead letters are kept" in text
        assert "41 of 42 opted out" in text
        assert "Look at the reasons below.</p>" in text
        assert "This is not an e-mail address." in text
        assert "sent again" not in text  # there are no dead letters to send
        record(map_index=0, known={**known, "reasons": {"invalid: INVALID_ADDRESS": "x", SCRIPT: -1}})
        text = viewer.get(PAGE.replace("{MAP_INDEX}", "0") + "page").text
        assert "The task&#39;s log says more.</p>" in text
        assert "This is not an e-mail address." not in text
        assert "no dead letters" in viewer.get(PAGE + "download").text

    def test_a_foreign_task_says_so(self, viewer: Any, record: Any) -> None:
        record(operator="BashOperator")
        reply = viewer.get(PAGE + "page")
        assert "does not write to HubSpot" in reply.text
        assert "http-equiv" not in reply.text

    @pytest.mark.parametrize("state", [None, "queued", "running"])
    def test_a_task_that_has_not_begun_is_waited_for(
        self, viewer: Any, record: Any, state: str | None
    ) -> None:
        record(state=state)
        reply = viewer.get(PAGE + "page")
        assert "not begun" in reply.text
        assert 'http-equiv="refresh"' in reply.text

    def test_an_unknown_run_is_no_error(self, viewer: Any) -> None:
        assert viewer.get(PAGE + "page").status_code == 200
        assert viewer.get("/hubprefs/nothing").status_code == 404


def test_a_report_that_cannot_be_shown_is_said_to_be_none(
    viewer: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> str:
        raise RecursionError(SECRET)

    monkeypatch.setattr("airflow_provider_hubprefs.bulk.page.page.render", broken)
    for name in ("page", "fragment", "report.html"):
        reply = viewer.get(PAGE + name)
        assert reply.status_code == 200
        assert "The report cannot be shown (RecursionError): it is not one that a run wrote." in reply.text
        assert "secret" not in reply.text


def test_an_error_of_ours_is_a_page(viewer: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_hubprefs.ui.app.run_of", lambda *_: 1 / 0)
    reply = viewer.get(PAGE + "page")
    assert reply.status_code == 500
    assert "could not be made (ZeroDivisionError)" in reply.text
    assert KEY["dag_id"] not in reply.text
