"""Plans made and applied against the local HubSpot, as operators do it, without Airflow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_hubprefs.bulk.plan.actions import Rules
from airflow_provider_hubprefs.bulk.plan.apply import Application
from airflow_provider_hubprefs.bulk.plan.compare import Comparison
from airflow_provider_hubprefs.bulk.plan.file import PlanFile
from airflow_provider_hubprefs.bulk.plan.run import apply_plan, make_plan
from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint, Identity
from airflow_provider_hubprefs.bulk.report.folder import RunFolder
from airflow_provider_hubprefs.bulk.source.columns import Columns
from airflow_provider_hubprefs.bulk.source.reader import reader_of
from airflow_provider_hubprefs.bulk.source.size import SourceSize
from airflow_provider_hubprefs.storage import ObjectPlace
from tests.bulk.conftest import lines_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from airflow_provider_hubprefs.simulator import Simulator

COLUMNS = Columns(
    status="status",
    subscription="id",
    legal_basis="basis",
    legal_basis_explanation="why",
    effective_at="since",
    everything_allowed=True,
)
SAME_FOR_ALL = ("status", "subscription_id", "everything", "brand")


@dataclass
class Made:
    """A plan that was made, or not.

    :param lines: of its body.
    :param letters: dead letters of the run.
    """

    summary: dict[str, Any]
    folder: RunFolder
    letters: list[dict[str, Any]]

    @property
    def path(self) -> Path:
        return Path(str(self.folder.path / "plan.jsonl"))

    @property
    def file(self) -> PlanFile:
        return PlanFile(self.path)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()[1:]]

    @property
    def actions(self) -> dict[str, str]:
        """What is done about each subscriber, or the category of a row that is refused."""
        return {line["subscriber"]: line["guard"] or line["action"] for line in self.lines}


class Planner:
    """Makes plans and applies them; each call is a run of its own, unless it is given the folder of another."""

    def __init__(self, client_for: Callable[..., Client], new_folder: Callable[[], Path]) -> None:
        self._client_for = client_for
        self._make_folder = new_folder

    def new_folder(self) -> RunFolder:
        """Return a folder of a run that several tries share."""
        return RunFolder(self._make_folder())

    def _folder(self, given: RunFolder | None) -> RunFolder:
        """Return the folder of a new try."""
        return self.new_folder() if given is None else RunFolder(given.path)

    def plan(
        self,
        source: Any,
        *,
        columns: Columns = COLUMNS,
        rules: Rules | None = None,
        token: str = "all",
        folder: RunFolder | None = None,
        on_conflict: Any = "error",
        run: dict[str, Any] | None = None,
        **more: Any,
    ) -> Made:
        client = self._client_for(token=token)
        folder = self._folder(folder)
        same = {name: more.pop(name) for name in SAME_FOR_ALL if name in more}
        comparison = Comparison(client.calls, rules or Rules(), columns, **same)
        size = SourceSize(source)
        identity = Identity(client, source, arguments=comparison.arguments())
        summary = make_plan(
            client,
            comparison,
            reader_of(size.source, columns=columns, check=comparison.row_check, on_conflict=on_conflict),
            source_size=size,
            folder=folder,
            checkpoint=Checkpoint(ObjectPlace(folder.checkpoint), identity, writer=folder.writer),
            **more,
            **(run or {}),
        )
        letters = [json.loads(line) for line in lines_of(Path(str(folder.letters)))]
        return Made(summary, folder, letters)

    def apply(
        self,
        plan: Made | PlanFile,
        *,
        approved: bool = False,
        token: str = "all",
        folder: RunFolder | None = None,
        **run: Any,
    ) -> Made:
        client = self._client_for(token=token)
        folder = self._folder(folder)
        file = plan.file if isinstance(plan, Made) else plan
        identity = Identity(client, file.path, arguments=Application(client.calls, file.header).arguments())
        summary = apply_plan(
            client,
            file,
            approved=approved,
            folder=folder,
            checkpoint=Checkpoint(ObjectPlace(folder.checkpoint), identity, writer=folder.writer),
            **run,
        )
        letters = [json.loads(line) for line in lines_of(Path(str(folder.letters)))]
        return Made({**summary, "plan": None}, folder, letters)


@pytest.fixture
def planner(client_for: Callable[..., Client], tmp_path_factory: pytest.TempPathFactory) -> Planner:
    return Planner(client_for, lambda: tmp_path_factory.mktemp("run"))


@pytest.fixture
def ids(hubspot: Simulator) -> list[int]:
    return hubspot.subscription_ids
