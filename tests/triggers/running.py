"""Watchers as the triggerer runs them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow_provider_hubprefs.simulator import Simulator
from airflow_provider_hubprefs.triggers.opt_out import HubPrefsOptOutTrigger

LONGEST = 15


class Running:
    """A trigger as the triggerer runs it; its payloads are in ``events``."""

    def __init__(self, trigger: HubPrefsOptOutTrigger, stream: AsyncIterator[Any] | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self._stream = trigger.run() if stream is None else trigger.filter_shared_stream(stream)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for event in self._stream:
            self.events.append(event.payload)

    async def until(self, events: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(LONGEST):
            while len(self.events) < events:
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.01)
        return self.events

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


def answers(hubspot: Simulator, endpoint: str) -> int:
    counts: dict[str, int] = hubspot.stats["answers"].get(endpoint, {})
    return sum(counts.values())


async def asked(hubspot: Simulator, endpoint: str, times: int) -> None:
    """Wait until there were so many more requests."""
    wanted = answers(hubspot, endpoint) + times
    async with asyncio.timeout(LONGEST):
        while answers(hubspot, endpoint) < wanted:
            await asyncio.sleep(0.01)


def rows(event: dict[str, Any]) -> list[dict[str, Any]]:
    path = Path(event["list"].removeprefix("file://"))
    return [json.loads(line) for line in path.read_text().splitlines()]


def subscribers(event: dict[str, Any]) -> list[str]:
    return sorted(row["subscriber"] for row in rows(event))
