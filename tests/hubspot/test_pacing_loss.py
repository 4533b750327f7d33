"""A store that goes away, comes back, is emptied or put back: never more than the limit in any window.

Without a network and without waiting: the pacers of several processes, a store that fails when the test says so, and
a HubSpot that counts a rolling window exactly.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from airflow_provider_hubprefs.hubspot.pacing.shared import SharedPacer, StoreError
from tests.helpers import LONG

from .conftest import Clock
from .test_pacing_slots import Server, Travel, Worker, World


class FailingStore:
    """A store that is there or not, for all processes alike; its clock is another one."""

    name = "a store"

    def __init__(self, clock: Clock, ahead: float) -> None:
        self.clock, self.ahead = clock, ahead
        self.there = True
        self.data = self.saved = b""

    def begin(self) -> None: ...

    def change(self, edit: Callable[[bytes, float], bytes], *, blocking: bool) -> None:
        if not self.there:
            raise StoreError("gone")
        self.data = edit(self.data, self.clock() + self.ahead)


class Scene:
    """Processes with some threads each, that share a budget of so many requests."""

    def __init__(
        self, *, limit: int = 100, interval: float = 10.0, ahead: float = 1e6, seed: int = 1
    ) -> None:
        self.world = World(Server(limit, interval), Clock())
        self.store = FailingStore(self.world.clock, ahead)
        self.luck = random.Random(seed)
        self.workers: list[Worker] = []

    def process(self, threads: int = 8) -> None:
        pacer = SharedPacer(self.store, clock=self.world.clock)
        self.workers += [Worker(self.world, pacer, self._travel()) for _ in range(threads)]

    def _travel(self) -> Travel:
        while True:
            yield 0.12 * self.luck.uniform(0.2, 0.9), 0.12 * self.luck.uniform(0.1, 0.4)

    def lose(self, at: float, back: float, *, empty: bool = False) -> None:
        def come_back() -> None:
            self.store.there = True
            self.store.data = b"" if empty else self.store.data

        self.world.at(at, lambda: setattr(self.store, "there", False))
        self.world.at(back, come_back)

    def empty(self, at: float) -> None:
        self.world.at(at, lambda: setattr(self.store, "data", b""))

    def served(self, begin: float, end: float) -> int:
        return sum(begin <= time < end for time in self.world.server.accepted)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("seed", range(200) if LONG else [0, 1, 2, 3, 91, 101])
def test_through_every_loss_and_return_no_window_holds_more_than_the_limit(count: int, seed: int) -> None:
    luck = random.Random(seed)
    scene = Scene(limit=luck.choice([20, 100, 190]), ahead=luck.choice([0.0, 1e6]), seed=seed)
    scene.store.there = luck.random() < 0.8
    latest = 1000.0
    for _ in range(count):
        latest = max(latest, begins := 1000 + luck.choice([0, 0, luck.uniform(0, 12)]))
        scene.world.at(
            begins, lambda: scene.process(luck.choice([4, 8, 30] if count == 1 else [1, 4, 8, 30]))
        )
    time = latest + luck.choice([1, 10])
    while (time := time + luck.choice([luck.uniform(0, 3), luck.uniform(0, 20)])) < 1060:
        kind = luck.choice(["lost", "lost and emptied", "emptied", "put back" if count == 1 else "lost"])
        if kind.startswith("lost"):
            back = time + luck.choice([0.05, 1.0, 5.0, 15.0, 32.0])
            scene.lose(time, back, empty="emptied" in kind)
            time = back
        elif kind == "emptied":
            scene.empty(time)
        else:
            scene.world.at(
                max(1000, time - luck.uniform(0, 5)), lambda: setattr(scene.store, "saved", scene.store.data)
            )
            scene.world.at(time, lambda: setattr(scene.store, "data", scene.store.saved))
    scene.world.at(1060, lambda: setattr(scene.store, "there", True))

    scene.world.run(1190)

    assert scene.world.server.refused == []
    # Ten windows: requests go in bursts, of which two windows may hold one only.
    assert scene.served(1090, 1190) >= 10 * scene.world.server.limit * 0.9


def test_slots_that_are_lost_in_a_burst_cost_no_throughput() -> None:
    """Four processes, at full rate; the store is emptied and nobody fails."""
    scene = Scene(limit=190)
    for _ in range(4):
        scene.process()
    scene.empty(1025)

    scene.world.run(1061)

    assert scene.world.server.refused == []
    assert scene.served(1000, 1060) >= 6 * 190 * 0.97


@pytest.mark.parametrize("count", [1, 4, 8])
def test_processes_that_begin_without_a_store_take_a_cautious_share_and_return(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(limit=190)
    scene.store.there = False
    for _ in range(count):
        scene.process()
    scene.world.at(1032, lambda: setattr(scene.store, "there", True))

    scene.world.run(1070)

    assert scene.world.server.refused == []
    assert scene.served(1050, 1060) >= 190 * 0.9
    assert "1/1" not in caplog.text
    assert caplog.text.count("how many use it is not known") == count


def test_a_process_that_cannot_share_and_is_alone_takes_more_with_time() -> None:
    scene = Scene(limit=190)
    scene.store.there = False
    scene.process()

    scene.world.run(1090)

    assert scene.served(1000, 1010) <= 24
    assert scene.served(1080, 1090) >= 160
