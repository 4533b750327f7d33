"""HubSpot's answers as a hook returns them: models to work with, and plain data where Airflow stores them."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any, TypeVar, cast

import msgspec
from pendulum import DateTime

from airflow_provider_hubprefs.hubspot.privacy import scrub

T = TypeVar("T")


class Answer(dict[str, Any]):
    """One of HubSpot's models that is a dict as well, because Airflow stores dicts in XCom, and no models.

    Attributes are those of the model. The items are what a task stores that returns the answer: HubSpot's own names,
    with addresses masked and without links, which are secrets.

    :param model: see :mod:`airflow_provider_hubprefs.hubspot.api.models`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(_stored(msgspec.to_builtins(model, enc_hook=DateTime.isoformat)))
        self._model = model

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return plain(getattr(self._model, name))

    def __repr__(self) -> str:
        return repr(self._model)

    def __reduce__(self) -> tuple[type[Answer], tuple[Any]]:
        return Answer, (self._model,)


def plain(answer: T) -> T:
    """Return an answer that Airflow can store, with the attributes of the model."""
    if isinstance(answer, list):
        return cast("T", [plain(one) for one in answer])
    model = isinstance(answer, msgspec.Struct) or is_dataclass(answer)
    return cast("T", Answer(answer)) if model else answer


def _stored(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "***" if name.endswith("Url") and isinstance(one, str) else _stored(one)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [_stored(one) for one in value]
    return scrub(value) if isinstance(value, str) else value
