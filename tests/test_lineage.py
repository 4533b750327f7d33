"""What Airflow's own collector and OpenLineage are told of files, assets and writes, without a DAG run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Asset, ObjectStoragePath
from airflow.sdk.io import attach
from airflow.sdk.lineage import HookLineageCollector
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_hubprefs import lineage
from airflow_provider_hubprefs.assets.hubspot import create_asset, to_openlineage
from airflow_provider_hubprefs.exceptions import HubPrefsFailException
from airflow_provider_hubprefs.hooks.hubprefs import HubPrefsHook
from airflow_provider_hubprefs.hubspot.api.models import StatusChange
from airflow_provider_hubprefs.hubspot.transport.auth import OAuthRefresh
from airflow_provider_hubprefs.operators.bulk import HubPrefsBatchUnsubscribeOperator
from airflow_provider_hubprefs.operators.preferences import HubPrefsUnsubscribeAllOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_hubprefs.simulator import Simulator

JANE = "jane.doe@example.com"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> HookLineageCollector:
    """Airflow's collector, as it is where some plugin reads what it has collected."""
    collector = HookLineageCollector()  # type: ignore[no-untyped-call]
    monkeypatch.setattr("airflow.sdk.lineage.get_hook_lineage_collector", lambda: collector)
    return collector


@pytest.fixture
def store() -> Iterator[ObjectStoragePath]:
    """A store that is not the local disk."""
    attach("memory", fs=MemoryFileSystem())
    yield ObjectStoragePath("memory://bucket")
    MemoryFileSystem.store.clear()


def written(collector: HookLineageCollector) -> list[str]:
    return sorted(one.asset.uri for one in collector.collected_assets.outputs)


class TestAssets:
    @pytest.mark.parametrize(
        ("given", "uri"),
        [
            ("hubspot://123/subscriptions/45", "hubspot://123/subscriptions/45"),
            ("HubSpot://123/subscriptions/0045/", "hubspot://123/subscriptions/45"),
            ("hubspot://123/subscriptions", "hubspot://123/subscriptions"),
            ("hubspot://123/opt-outs", "hubspot://123/opt-outs"),
            ("hubspot://hubprefs_default/opt-outs/0", "hubspot://hubprefs_default/opt-outs/0"),
        ],
        ids=["one", "untidy", "all", "opt-outs", "brand"],
    )
    def test_airflow_normalises_a_uri(self, given: str, uri: str) -> None:
        assert Asset(given).uri == uri

    @pytest.mark.parametrize(
        "uri",
        [
            f"hubspot://123/subscriptions/{JANE}",
            f"hubspot://123/opt-outs/{JANE.replace('@', '%40')}",
            f"hubspot://{JANE}/opt-outs",
            f"hubspot://123/opt-outs?email={JANE}",
            "hubspot://123/contacts/jane",
            "hubspot:///subscriptions/1",
            "hubspot://123",
        ],
        ids=["address", "encoded", "user", "query", "other-kind", "no-portal", "no-kind"],
    )
    def test_what_is_none_is_refused_without_being_repeated(self, uri: str) -> None:
        with pytest.raises(ValueError, match="not a URI of HubSpot") as refused:
            Asset(uri)
        assert "jane" not in str(refused.value)

    def test_an_asset_is_made_of_numbers(self) -> None:
        assert create_asset(portal=123, subscription_id=45).uri == "hubspot://123/subscriptions/45"
        assert create_asset(portal=123, business_unit_id=0).uri == "hubspot://123/opt-outs/0"

    def test_openlineage_has_the_portal_as_its_namespace(self) -> None:
        found = to_openlineage(Asset("hubspot://123/subscriptions/45"), None)
        assert (found.namespace, found.name) == ("hubspot://123", "subscriptions/45")


@pytest.mark.usefixtures("hubprefs_default")
class TestHookLineage:
    def test_every_write_of_the_hook_is_an_output(self, collector: HookLineageCollector) -> None:
        hook = HubPrefsHook()
        one, other = (each.id for each in hook.get_definitions().results[:2])
        hook.get_statuses(JANE)
        hook.get_unsubscribe_all(JANE)
        assert written(collector) == []
        hook.set_status(JANE, one, "UNSUBSCRIBED")
        hook.batch_set_statuses(
            [
                StatusChange(subscriber=JANE, subscription_id=each, status="UNSUBSCRIBED")
                for each in (one, other)
            ]
        )
        hook.unsubscribe_all(JANE)
        hook.batch_unsubscribe_all([JANE], business_unit_id=0)
        assert written(collector) == sorted(
            [
                "hubspot://hubprefs_default/opt-outs",
                "hubspot://hubprefs_default/opt-outs/0",
                *(f"hubspot://hubprefs_default/subscriptions/{each}" for each in (one, other)),
            ]
        )

    def test_a_write_that_hubspot_refuses_is_none(
        self, collector: HookLineageCollector, hubspot: Simulator
    ) -> None:
        hubspot.load({"rejected": {JANE: {"category": "VALIDATION_ERROR", "message": "no"}}})
        with pytest.raises(Exception, match="VALIDATION_ERROR"):
            HubPrefsHook().unsubscribe_all(JANE)
        assert written(collector) == []

    def test_a_run_writes_hubspot_and_reads_its_source_and_no_file_of_its_own(
        self,
        collector: HookLineageCollector,
        hubspot: Simulator,
        store: ObjectStoragePath,
        context: Any,
    ) -> None:
        hubspot.load({"rejected": {JANE: {"category": "VALIDATION_ERROR", "message": "no"}}})
        (store / "list.csv").write_text(f"email\n{JANE}\nother@example.com\n")
        operator = HubPrefsBatchUnsubscribeOperator(
            task_id="opt_out", source=str(store / "list.csv"), output=str(store / "out"), on_rejected="report"
        )
        result = operator.execute(context)
        assert result["dead_letters"]
        assert written(collector) == ["hubspot://48120091/opt-outs"]
        assert {one.asset.uri for one in collector.collected_assets.inputs} <= {"memory://bucket/list.csv"}

    def test_a_run_that_fails_has_written_what_it_had_sent(
        self, collector: HookLineageCollector, hubspot: Simulator, context: Any
    ) -> None:
        people = [f"person-{number}@example.com" for number in range(40)]
        hubspot.fault("status", status=401, match={"body_contains": "person-25@"}, times=None)
        operator = HubPrefsBatchUnsubscribeOperator(
            task_id="opt_out", subscribers=people, batch_size=10, max_budget_share=0.1
        )
        with pytest.raises(HubPrefsFailException):
            operator.execute(context)
        assert written(collector) == ["hubspot://hubprefs_default/opt-outs"]
        (output,) = operator.get_openlineage_facets_on_failure(None).outputs
        assert 0 < output.outputFacets["outputStatistics"].rowCount < 40

    def test_a_run_that_sent_nothing_has_written_nothing(
        self, collector: HookLineageCollector, hubspot: Simulator, context: Any
    ) -> None:
        operator = HubPrefsBatchUnsubscribeOperator(
            task_id="opt_out", subscribers=["no address"], on_rejected="report"
        )
        operator.execute(context)
        assert written(collector) == []

    def test_the_portal_is_named_by_its_number_where_it_is_known(
        self, collector: HookLineageCollector, hubspot: Simulator
    ) -> None:
        hook = HubPrefsHook()
        auth = OAuthRefresh(client_id="i", client_secret="s", refresh_token="r")
        auth.hub_id = 123
        hook.unsubscribe_all(JANE)
        hook.client.auth = auth
        operator = HubPrefsUnsubscribeAllOperator(task_id="one", subscriber=JANE)
        operator._known, operator._hook = {"changed": 1}, hook
        lineage.note(operator)
        assert "hubspot://123/opt-outs" in written(collector)

    def test_a_collector_that_fails_fails_no_write(
        self, monkeypatch: pytest.MonkeyPatch, hubspot: Simulator
    ) -> None:
        monkeypatch.setattr("airflow.sdk.lineage.get_hook_lineage_collector", object)
        HubPrefsHook().unsubscribe_all(JANE)
        assert hubspot.is_opted_out(JANE)


class TestOpenLineage:
    @pytest.mark.parametrize(
        ("source", "places"),
        [
            ("s3://aws_default@bucket/unload/part-*.csv", [("s3://bucket", "unload")]),
            (["s3://bucket/a.csv", "s3://other@bucket/a.csv"], [("s3://bucket", "a.csv")]),
            ("gs://bucket/folder/", [("gs://bucket", "folder/")]),
            ("/data/list.csv", [("file", "/data/list.csv")]),
            (Path("/data/list.csv"), [("file", "/data/list.csv")]),
            ("file:///data/2026-??/list.csv", [("file", "/data")]),
        ],
        ids=["pattern", "twice", "folder", "local", "path", "local-pattern"],
    )
    def test_a_source_has_openlineage_s_name_without_credentials(
        self, source: Any, places: list[tuple[str, str]]
    ) -> None:
        operator = HubPrefsBatchUnsubscribeOperator(task_id="opt_out", source=source)
        found = operator.get_openlineage_facets_on_start()
        assert [(each.namespace, each.name) for each in found.inputs] == places
        assert found.outputs == []

    def test_an_address_in_a_file_s_name_is_masked(self) -> None:
        operator = HubPrefsBatchUnsubscribeOperator(task_id="opt_out", source=f"s3://bucket/{JANE}")
        assert "jane" not in str(operator.get_openlineage_facets_on_start())

    def test_many_files_are_named_by_their_folders_and_these_by_the_first_hundred(self) -> None:
        for folders, expected in ((3, 3), (100_000, 100)):
            source = [f"s3://bucket/{number % folders}/{number}.csv" for number in range(100_000)]
            begin = time.process_time()
            found = lineage.datasets_of(source)
            assert time.process_time() - begin < 1
            assert list(found) == [("s3://bucket", str(number)) for number in range(expected)]

    def test_rows_from_memory_are_no_data_set(self) -> None:
        operator = HubPrefsBatchUnsubscribeOperator(task_id="opt_out", subscribers=[JANE])
        assert operator.get_openlineage_facets_on_start().inputs == []

    def test_without_openlineage_s_provider_there_is_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)
        operator = HubPrefsBatchUnsubscribeOperator(task_id="opt_out", source="/data/list.csv")
        assert operator.get_openlineage_facets_on_complete(None) is None

    @pytest.mark.usefixtures("hubprefs_default")
    def test_a_file_that_an_export_writes_is_an_output(
        self, context: Any, hubspot: Simulator, tmp_path: Path
    ) -> None:
        from airflow_provider_hubprefs.operators.export import HubPrefsExportDefinitionsOperator

        target = str(tmp_path / "definitions.csv")
        operator = HubPrefsExportDefinitionsOperator(task_id="export", target=target)
        operator.execute(context)
        found = operator.get_openlineage_facets_on_complete(None)
        assert [(each.namespace, each.name) for each in found.outputs] == [("file", target)]
        assert [each.name for each in found.inputs] == ["subscriptions"]
