"""What Airflow's database says of runs and watchers; for lists, one select each. Airflow 3."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, null, select

from airflow_provider_hubprefs.bulk.report.words import CALLED
from airflow_provider_hubprefs.links import OUTCOMES, REPORT, address_of
from airflow_provider_hubprefs.triggers.opt_out import NOTED

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.orm import Session

MOST = 200
"""Runs on the page of recent runs."""

_WATCHER = "airflow_provider_hubprefs.triggers.opt_out.HubPrefsOptOutTrigger"
_TEXTS = ("folder", "connection", "state", "write", "done", "because", "outcome", "kind")
_REASONS = 50


def tidy(value: object) -> dict[str, Any] | None:
    """Return what a report's XCom says; None: it is none. Its DAG's author wrote it: what is odd is left out."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, dict):
        return None
    found: dict[str, Any] = {name: value[name][:1000] for name in _TEXTS if isinstance(value.get(name), str)}
    found |= _numbers(value, (*OUTCOMES, "portal", "kept"))
    if isinstance(reasons := value.get("reasons"), dict):
        found["reasons"] = _numbers(reasons, list(reasons)[:_REASONS])
    if isinstance(value.get("budget"), dict):
        found["budget"] = _numbers(value["budget"], ("daily", "daily_remaining"))
    return found


def _numbers(value: dict[str, Any], names: Collection[str]) -> dict[str, int]:
    return {name: value[name] for name in names if type(value.get(name)) is int and value[name] >= 0}


@dataclass
class TaskRun:
    """A task instance, as far as its page needs it.

    :param key: ``dag_id``, ``run_id``, ``task_id``, ``map_index``.
    :param known: what its XCom says, see :func:`tidy`.
    """

    key: dict[str, Any]
    state: str | None
    operator: str
    known: dict[str, Any] | None
    ended: bool = False
    at: datetime | None = None

    @property
    def address(self) -> str:
        """Of its tab."""
        return address_of(type("Key", (), self.key))

    @property
    def rows(self) -> int:
        """How many have an outcome."""
        return sum((self.known or {}).get(name, 0) for name in OUTCOMES[1:])

    @property
    def counts(self) -> dict[str, int]:
        """Rows by outcome; ``kept``: those of the rejected that are left to HubSpot."""
        known = self.known or {}
        counts = {name: known.get(name, 0) for name in OUTCOMES[1:]}
        kept = min(known.get("kept", 0), counts["rejected"])
        return {**counts, "rejected": counts["rejected"] - kept, "kept": kept}

    @property
    def label(self) -> str:
        """Its counts in words."""
        called = {"kept": "left to HubSpot", **CALLED.get(self.kind or "", {})}
        return ", ".join(f"{rows:,} {called.get(name, name)}" for name, rows in self.counts.items() if rows)

    @property
    def kind(self) -> str | None:
        """What it does to HubSpot: ``write``, ``plan`` or ``read``; None: it has not said so."""
        return (self.known or {}).get("kind")

    @property
    def bars(self) -> list[tuple[str, float, float]]:
        """Outcome, begin and width of each part of its bar, in per cent."""
        widths = {name: 100 * number / (self.rows or 1) for name, number in self.counts.items()}
        begins = accumulate(widths.values(), initial=0.0)
        return [
            (name, round(at, 2), round(widths[name], 2))
            for name, at in zip(widths, begins, strict=False)
            if widths[name]
        ]


def run_of(session: Session, key: dict[str, Any]) -> TaskRun | None:
    """Return a task instance; None: there is none."""
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817
    from airflow.models.xcom import XComModel
    from airflow.utils.state import State

    of_it = [getattr(XComModel, name) == getattr(TI, name) for name in key]
    query = (
        select(TI.state, TI.operator, XComModel.value)
        .outerjoin(XComModel, and_(*of_it, XComModel.key == REPORT))
        .where(*(getattr(TI, name) == value for name, value in key.items()))
    )
    found = session.execute(query).first()
    if found is None:
        return None
    state, operator, value = found
    return TaskRun(key, state, operator or "", tidy(value), ended=state in State.finished)


def recent_runs(session: Session, dag_ids: Collection[str]) -> list[TaskRun]:
    """Return the newest runs of these DAGs, by one select; no file is opened."""
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817
    from airflow.models.xcom import XComModel as X

    names = ("dag_id", "run_id", "task_id", "map_index")
    of_it = [getattr(X, name) == getattr(TI, name) for name in names]
    query = (
        select(*(getattr(X, name) for name in names), X.value, X.timestamp, TI.state, TI.operator)
        .join(TI, and_(*of_it))
        .where(X.key == REPORT, X.dag_id.in_(dag_ids))
        .order_by(X.timestamp.desc())
        .limit(MOST)
    )
    return [
        TaskRun(
            dict(zip(names, row[:4], strict=True)),
            row.state,
            row.operator or "",
            tidy(row.value) or {},
            at=row.timestamp,
        )
        for row in session.execute(query)
    ]


def watchers(session: Session) -> list[dict[str, Any]]:
    """Return the watchers of opt-outs, by one select, with what each has noted last."""
    from airflow.models import asset as models
    from airflow.models.trigger import Trigger

    AssetModel, tables = models.AssetModel, models.AssetModel.metadata.tables  # noqa: N806 - a class
    watcher = tables.get("asset_watcher", tables.get("asset_trigger"))  # before 3.2, where it has no name
    name: Any = watcher.columns.get("name", AssetModel.name)
    query: Any = (
        select(AssetModel.id, AssetModel.name.label("asset"), name, Trigger)
        .join(watcher, watcher.columns.asset_id == AssetModel.id)
        .join(Trigger, Trigger.id == watcher.columns.trigger_id)
        .where(Trigger.classpath == _WATCHER)
        .order_by(AssetModel.name)
    )
    try:
        from airflow.models.asset_state_store import AssetStateStoreModel as State
    except ImportError:  # before 3.3
        query = query.add_columns(null())
    else:
        query = query.add_columns(State.value).outerjoin(
            State, and_(State.asset_id == AssetModel.id, State.key == NOTED)
        )
    return [_watcher(*row) for row in session.execute(query)]


def _watcher(asset_id: int, asset: str, name: str, trigger: Any, noted: str | None) -> dict[str, Any]:
    try:
        connection = trigger.kwargs.get("hubprefs_conn_id")
    except Exception:  # noqa: BLE001 - encrypted with another key
        connection = None
    try:
        found = json.loads(noted) if noted else {}
    except ValueError:
        found = {}
    found = found if isinstance(found, dict) else {}
    return {"id": asset_id, "asset": asset, "name": name, "connection": connection, "noted": found}
