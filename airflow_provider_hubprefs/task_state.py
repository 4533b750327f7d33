"""What a task keeps between its tries, where Airflow has a store for that (3.3 and later)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_hubprefs.compat import Context


class TaskState:
    """One JSON value of a task in Airflow's task state store; a :class:`~.bulk.storage.Place` as well.

    :param context: of the task.
    :param key: name of the value.
    :param store: another store: of an asset's state, which outlives the DAG run.
    """

    def __init__(self, context: Context, key: str, *, store: Any = None) -> None:
        self._store: Any = context.get("task_state_store") if store is None else store
        self._key = key

    @property
    def available(self) -> bool:
        """Whether Airflow has the store; without it nothing is kept, and :meth:`load` finds nothing."""
        return self._store is not None

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last; None: nothing was."""
        found = self._store.get(self._key) if self.available else None
        return found if isinstance(found, dict) else None

    def save(self, value: dict[str, Any]) -> None:
        """Replace what was saved before."""
        if self.available:
            self._store.set(self._key, value)

    def clear(self) -> None:
        """Delete what was saved."""
        if self.available:
            self._store.delete(self._key)
