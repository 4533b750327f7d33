"""What this package needs of Airflow, from where each version has it. A name is imported when it is first used.

Without ``apache-airflow-providers-common-compat``: the releases of it that have all of these names are newer than what
most versions of Airflow have in their constraints.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import (
        Asset,
        BaseHook,
        BaseNotifier,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Connection,
        Context,
        ObjectStoragePath,
        PokeReturnValue,
    )
    from airflow.sdk._shared.secrets_masker import mask_secret as mask_locally
    from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator
    from airflow.sdk.bases.decorator import _TaskDecorator as TaskDecoratorBase
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
    )
    from airflow.sdk.lineage import get_hook_lineage_collector
    from airflow.sdk.log import mask_secret
    from airflow.sdk.observability.stats import Stats
    from airflow.triggers.base import BaseEventTrigger

_MASKER_2 = "airflow.utils.log.secrets_masker"
_PLACES = {
    "Asset": ("airflow.sdk", "airflow.datasets:Dataset"),
    "BaseEventTrigger": ("airflow.triggers.base", "airflow.triggers.base:BaseTrigger"),
    "BaseHook": ("airflow.sdk", "airflow.hooks.base"),
    "BaseNotifier": ("airflow.sdk", "airflow.notifications.basenotifier"),
    "BaseOperator": ("airflow.sdk", "airflow.models.baseoperator"),
    "BaseOperatorLink": ("airflow.sdk", "airflow.models.baseoperatorlink"),
    "BaseSensorOperator": ("airflow.sdk", "airflow.sensors.base"),
    "Connection": ("airflow.sdk", "airflow.models.connection"),
    "Context": ("airflow.sdk", "airflow.utils.context"),
    "DecoratedOperator": ("airflow.sdk.bases.decorator", "airflow.decorators.base"),
    "ObjectStoragePath": ("airflow.sdk", "airflow.io.path"),
    "PokeReturnValue": ("airflow.sdk", "airflow.sensors.base"),
    "Stats": ("airflow.sdk.observability.stats", "airflow.stats"),
    "TaskDecoratorBase": (
        "airflow.sdk.bases.decorator:_TaskDecorator",  # Airflow gives no other place to look at what expand() gets
        "airflow.decorators.base:_TaskDecorator",
    ),
    "conf": ("airflow.sdk.configuration", "airflow.configuration"),
    "get_hook_lineage_collector": ("airflow.sdk.lineage", "airflow.lineage.hook"),
    "mask_locally": (
        "airflow.sdk._shared.secrets_masker:mask_secret",
        f"{_MASKER_2}:mask_secret",
        "airflow.sdk.log:mask_secret",  # should the first, which is private, move: it also sends a message
    ),
    "mask_secret": ("airflow.sdk.log", _MASKER_2),
}
"""Modules that may have a name, the latest Airflow's first; ``module:name`` where it is called otherwise."""


def __getattr__(name: str) -> Any:
    """Import a name."""
    errors = ("airflow.sdk.exceptions", "airflow.exceptions") if name.startswith("Airflow") else ()
    for place in _PLACES.get(name, errors):
        module, _, attribute = place.partition(":")
        with suppress(ImportError, AttributeError):
            return getattr(import_module(module), attribute or name)
    raise AttributeError(name)


async def get_async_connection(hook: BaseHook, conn_id: str) -> Connection:
    """Look up a connection in an event loop without blocking it.

    Before 3.3.2, which brought ``aextra_dejson``, Airflow's ``aget_connection`` masks secrets by a blocking message:
    there a thread looks up. asgiref starts it, because it passes the messages of before 3.2.2 on to the loop.
    """
    if hasattr(await asyncio.to_thread(__getattr__, "Connection"), "aextra_dejson"):
        return await hook.aget_connection(conn_id)
    from asgiref.sync import sync_to_async

    return await sync_to_async(hook.get_connection)(conn_id)
