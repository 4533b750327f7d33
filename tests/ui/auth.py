"""An auth manager whose users have rights for some DAGs only, and for some of what belongs to them."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager


class AuthManagerByDag(SimpleAuthManager):
    """Airflow's simple one, where ``other-dag`` may not read ``mine``, ``no-logs`` reads no logs,
    and ``no-xcoms`` reads the DAGs ``mine`` and ``hubprefs_suppression``, but not their XComs."""

    def is_authorized_dag(
        self, *, user: Any, access_entity: Any = None, details: Any = None, **more: Any
    ) -> bool:
        if user.username == "other-dag" and details is not None and details.id not in {None, "other"}:
            return False
        if user.username == "no-logs" and access_entity is DagAccessEntity.TASK_LOGS:
            return False
        of_mine = details is not None and details.id in {"mine", "hubprefs_suppression"}
        if user.username == "no-xcoms" and access_entity is DagAccessEntity.XCOM and of_mine:
            return False
        return super().is_authorized_dag(user=user, access_entity=access_entity, details=details, **more)

    def is_authorized_asset(self, *, user: Any, **more: Any) -> bool:
        return user.username != "other-dag" and super().is_authorized_asset(user=user, **more)
