"""A source that changes, in stores that say much, little or nothing of a file: no row is lost, nothing is mixed."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.errors import SourceError
from airflow_provider_hubprefs.bulk.source.files import Files
from airflow_provider_hubprefs.bulk.source.reader import read_rows
from airflow_provider_hubprefs.bulk.source.stored import StoredFile
from airflow_provider_hubprefs.exceptions import HubPrefsException, HubPrefsFailException
from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from tests.helpers import Store, people, reported, writes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_hubprefs.simulator import Simulator

SECOND = datetime.datetime(2026, 11, 25, 10, 0, tzinfo=datetime.UTC)


class Cloud(MemoryFileSystem):  # type: ignore[misc]
    """``info()`` with the fields of a store's fsspec client; every file was written in the same second."""

    cachable = False
    kind: ClassVar[str] = "s3"

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        info: dict[str, Any] = super().info(path, **options)
        if info["type"] != "file":
            return info
        content = self.cat(path)
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        del info["created"]
        more: dict[str, dict[str, Any]] = {
            "s3": {
                "ETag": f'"{etag}"',
                "LastModified": SECOND,
                "StorageClass": "STANDARD",
                "VersionId": None,
            },
            "gcs": {
                "etag": etag[:8],
                "generation": etag[8:16],
                "mtime": SECOND,
                "updated": SECOND.isoformat(),
            },
            "azure": {
                "etag": f"0x{etag}",
                "last_modified": SECOND,
                "content_settings": {"content_md5": None},
            },
            "azure without etag": {"last_modified": SECOND + datetime.timedelta(seconds=content[-2])},
            "ftp": {"modify": f"202611251000{content[-2]}"},
            "hdfs": {"modificationTime": 1_795_600_000_000 + content[-2]},
            "silent": {},
        }
        return {**info, **more[self.kind]}


KINDS = ("s3", "gcs", "azure", "azure without etag", "ftp", "hdfs", "local")


def listed(names: list[str], mark: str = "1") -> str:
    return "\n".join(["email", *names, f"{mark}@example.com"]) + "\n"


@pytest.fixture
def file_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ObjectStoragePath]]:
    def make(kind: str) -> ObjectStoragePath:
        if kind == "local":
            return ObjectStoragePath(f"file://{tmp_path}/people.csv")
        monkeypatch.setattr(Cloud, "kind", kind)
        attach("memory", conn_id="cloud", fs=Cloud())
        return ObjectStoragePath("memory://cloud@bucket/people.csv")

    yield make
    MemoryFileSystem.store.clear()


def opt_out(context: Any, source: Any, **arguments: Any) -> dict[str, Any]:
    return HubPrefsBatchUnsubscribeOperator(
        task_id="opt_out", source=source, **{"batch_size": 10, **arguments}
    ).execute(context)


@pytest.mark.parametrize("kind", KINDS)
def test_every_store_says_when_a_file_is_another(kind: str, file_in: Any) -> None:
    file = file_in(kind)
    versions = []
    for content in ("email\na@example.com1\n", None, "email\na@example.com2\n"):
        if content is not None:
            time.sleep(0.02 if kind == "local" else 0)  # the clock that a disk's times come from is coarse
            file.write_text(content)
        versions.append(StoredFile(file, status=file.stat()).version)
    assert versions[0] == versions[1] != versions[2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("twice", [False, True])
def test_one_that_is_written_while_it_is_read_is_an_error(kind: str, file_in: Any, *, twice: bool) -> None:
    file = file_in(kind)
    rows = [f"{name},UNSUBSCRIBED" for name in people(3000)]
    file.write_text("email,status\n" + "\n".join([*rows, "x@example.com,UNSUBSCRIBED1"]) + "\n")
    columns = Columns(email="email", status="status" if twice else None)
    reading = read_rows(file, columns=columns)
    next(reading)
    rows[1500] = rows[1500].replace("person", "nosrep")
    file.write_text("email,status\n" + "\n".join([*rows, "x@example.com,UNSUBSCRIBED2"]) + "\n")
    with pytest.raises(SourceError, match="changed while it was read"):
        list(reading)


def test_another_content_at_the_second_reading_is_an_error_where_the_store_says_nothing(file_in: Any) -> None:
    first = file_in("silent")
    second = first.parent / "second.csv"
    first.write_text("email,status\n" + "".join(f"{name},UNSUBSCRIBED\n" for name in people(300)))
    second.write_text("email,status\njane@example.com,UNSUBSCRIBED\n")
    reading = read_rows(Files([first, second]), columns=Columns(email="email", status="status"))
    next(reading)  # all was read once
    second.write_text("email,status\njane@example.com,  SUBSCRIBED\n")
    with pytest.raises(SourceError, match="changed while it was read"):
        for row in reading:
            assert row.wanted is not None
            assert row.wanted.status == "UNSUBSCRIBED"


@pytest.mark.usefixtures("hubprefs_default")
class TestARetry:
    @pytest.fixture(autouse=True)
    def quick(self, hubspot: Simulator) -> None:
        hubspot.load({"limits": {"burst": 10_000}})

    @pytest.mark.parametrize("kind", ["silent", "local"])
    def test_compares_the_rows_that_were_sent(
        self, hubspot: Simulator, context: dict[str, Any], file_in: Any, kind: str
    ) -> None:
        """The ends and the size of the file are the same, and so is what a silent store says."""
        context["task_state_store"] = store = Store()
        file, names = file_in(kind), [f"person-{number:06}{'x' * 40}@example.com" for number in range(2200)]
        file.write_text(listed(names))
        status = Path(file.path).stat() if kind == "local" else None
        hubspot.fault("daily", match={"body_contains": names[2100]})
        with pytest.raises(HubPrefsException, match="midnight"):
            opt_out(context, file, batch_size=500, on_changed_source="fail")
        assert "@" not in json.dumps(store)
        before = names[1100]
        names[1100] = before.replace("person", "nosrep")
        file.write_text(listed(names))
        if status is not None:
            os.utime(file.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        sent = writes(hubspot)
        for _ in range(2):
            with pytest.raises(
                HubPrefsFailException, match="The source changed since an earlier try stopped"
            ):
                opt_out(context, file, batch_size=500)
        assert writes(hubspot) == sent
        summary = opt_out(context, file, batch_size=500, on_changed_source="restart")
        assert (summary["read"], summary["changed"] + summary["unchanged"]) == (2201, 2201)
        assert hubspot.is_opted_out(names[1100])

    def test_goes_on_where_the_content_is_the_same(
        self, hubspot: Simulator, context: dict[str, Any], file_in: Any, tmp_path: Path
    ) -> None:
        context["task_state_store"] = Store()
        file = file_in("silent")
        file.write_text(listed(people(300)))
        hubspot.fault("daily", match={"body_contains": "person-150@"})
        with pytest.raises(HubPrefsException, match="midnight"):
            opt_out(context, file)
        file.write_text(listed(people(300)))
        summary = opt_out(context, file, output=str(tmp_path / "runs"))
        assert (summary["read"], reported(summary)["tries"]) == (301, 2)

    def test_that_waits_compares_all_rows(
        self, hubspot: Simulator, context: dict[str, Any], file_in: Any
    ) -> None:
        hubspot.load({"operations": {"seconds": 3600}, "limits": {"burst": 10_000}})
        context["task_state_store"] = Store()
        file = file_in("silent")
        file.write_text(listed(people(30)))
        waiting = {"wait_for_completion": True, "timeout": 0.1, "poke_interval": 0.05}
        with pytest.raises(HubPrefsException, match="31 unconfirmed"):
            opt_out(context, file, **waiting)
        hubspot.advance(3600)
        file.write_text(listed(people(30)[::-1]))
        with pytest.raises(HubPrefsFailException, match="The source changed since"):
            opt_out(context, file, **waiting)
        file.write_text(listed(people(30)))
        assert opt_out(context, file, **waiting)["changed"] == 31
