"""Many waits, one poll: every wait gets its own answer, and no wait notices the others."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_hubprefs.hubspot.api.models import Operation
from airflow_provider_hubprefs.hubspot.errors import (
    AuthenticationError,
    MissingScopesError,
    ServerError,
    ValidationError,
)
from airflow_provider_hubprefs.hubspot.pacing.pacers import ProcessPacer, SharePacer
from airflow_provider_hubprefs.hubspot.polling import connection as polling_connection
from airflow_provider_hubprefs.hubspot.polling import poller as polling
from airflow_provider_hubprefs.hubspot.polling.poller import BUDGET_SHARE, shared_poller
from airflow_provider_hubprefs.hubspot.polling.question import Question
from airflow_provider_hubprefs.hubspot.transport.aio import AsyncClient
from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
from airflow_provider_hubprefs.hubspot.transport.settings import Settings
from tests.helpers import LONG, people

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from airflow_provider_hubprefs.simulator import Simulator

OPT_OUT, STATUSES = Question(about="opt_out"), Question(about="statuses")
SHORT = Settings(retry_total=0.5, retry_first_wait=0.02, retry_max_wait=0.1)
TOGETHER, SINGLE = "batch_read_unsubscribe_all", "get_unsubscribe_all"


class Portal:
    """A connection to the simulator, and how often it was looked up."""

    def __init__(self, hubspot: Simulator, token: str = "all", *, share: float = BUDGET_SHARE) -> None:
        self.hubspot = hubspot
        self.token: str | None = hubspot.tokens[token]
        self.pacer = SharePacer(ProcessPacer(), share)
        self.version = "2026-09"
        self.looked_up = 0
        self.clients: list[AsyncClient] = []

    async def connect(self) -> AsyncClient:
        self.looked_up += 1
        if self.token is None:
            raise LookupError("there is no such connection")
        client = AsyncClient(
            StaticToken(self.token),
            host=self.hubspot.url,
            pacer=self.pacer,
            settings=SHORT,
            version=self.version,
        )
        self.clients.append(client)
        return client

    @asynccontextmanager
    async def wait(self, subscriber: str, question: Question = OPT_OUT) -> AsyncIterator[Any]:
        """Join the poller; what is yielded asks about the subscriber."""
        shared = shared_poller(question=question, connection=id(self), connect=self.connect)
        async with shared as poller:
            yield partial(poller.ask, subscriber)

    async def ask(self, subscriber: str, question: Question = OPT_OUT) -> Operation[Any]:
        """One answer for one who waits."""
        async with self.wait(subscriber, question) as ask:
            answer: Operation[Any] = await ask()
            return answer

    async def ask_all(
        self, subscribers: list[str], question: Question = OPT_OUT
    ) -> list[Operation[Any] | BaseException]:
        """One answer, or error, for each of many who wait together."""
        return await asyncio.gather(*(self.ask(one, question) for one in subscribers), return_exceptions=True)

    @property
    def asked(self) -> dict[str, int]:
        """Requests by endpoint."""
        return dict(Counter(request.endpoint for request in self.hubspot.requests))


@pytest.fixture
def portal(hubspot: Simulator) -> Portal:
    return Portal(hubspot)


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    """Run it in a loop of its own, and see that nothing is left of it."""

    async def and_nothing_is_left() -> Any:
        async with asyncio.timeout(60):
            result = await scenario()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not polling._pollers.get(asyncio.get_running_loop())
        return result

    return asyncio.run(and_nothing_is_left())


def plain(operation: Operation[Any]) -> tuple[Any, ...]:
    """An answer without its times."""
    return operation.status, operation.results, operation.errors, operation.num_errors


class TestAnswers:
    def test_a_hundred_waits_cost_one_request_and_each_gets_its_own_answer(self, portal: Portal) -> None:
        out = people(100)[::3]
        portal.hubspot.opt_out(*out)
        answers = run(lambda: portal.ask_all(people(100)))
        assert [bool(answer.results) for answer in answers] == [one in out for one in people(100)]
        assert {answer.status for answer in answers} == {"COMPLETE"}
        assert portal.asked == {TOGETHER: 1}

    def test_two_hundred_and_one_cost_two_and_one_call_for_one(self, portal: Portal) -> None:
        run(lambda: portal.ask_all(people(201)))
        assert portal.asked == {TOGETHER: 2, SINGLE: 1}

    def test_one_wait_uses_the_call_for_one(self, portal: Portal) -> None:
        run(lambda: portal.ask("jane@example.com"))
        assert portal.asked == {SINGLE: 1}

    def test_waits_on_one_subscriber_share_its_row(self, portal: Portal) -> None:
        portal.hubspot.opt_out("jane@example.com")
        answers = run(lambda: portal.ask_all(["jane@example.com"] * 3))
        assert [len(answer.results) for answer in answers] == [1, 1, 1]
        assert portal.asked == {SINGLE: 1}

    def test_waits_that_ask_something_else_do_not_mix(self, portal: Portal) -> None:
        portal.hubspot.load({"brands": [0, 77]})
        brand = Question(about="opt_out", business_unit_id=77)
        portal.hubspot.portal.unsubscribe_all("person-1@example.com", 77)

        async def scenario() -> list[Any]:
            asked = (portal.ask_all(people(2), question) for question in (OPT_OUT, STATUSES, brand))
            return list(await asyncio.gather(*asked))

        opt_outs, statuses, of_brand = run(scenario)
        assert [len(answer.results) for answer in opt_outs] == [0, 1]
        assert [answer.results[0].business_unit_id for answer in of_brand[1:]] == [77]
        assert all(len(answer.results) == len(portal.hubspot.subscription_ids) for answer in statuses)
        assert portal.asked == {TOGETHER: 2, "batch_read": 1}

    @pytest.mark.parametrize("question", [OPT_OUT, STATUSES], ids=["opt_out", "statuses"])
    @pytest.mark.parametrize("errors", ["context", "no_context", "whole"])
    def test_an_answer_is_that_of_the_call_for_one(
        self, portal: Portal, question: Question, errors: str
    ) -> None:
        """Over, canceled, pending, refused: together as alone."""
        hubspot = portal.hubspot
        outcomes = {"canceled@example.com": "CANCELED", "unknown@example.com": "HIBERNATING"}
        hubspot.load({"operations": {"seconds": 60, "outcomes": outcomes}, "batch_errors": errors})
        names = ["over", "canceled", "unknown", "pending", "idle"]
        everybody = [*(f"{name}@example.com" for name in names), "rejected@hubspot-rejects.example"]
        for one in ("over", "canceled", "unknown"):
            hubspot.portal.unsubscribe_all(f"{one}@example.com", None)
        hubspot.advance(61)
        hubspot.portal.unsubscribe_all("pending@example.com", None)
        together = run(lambda: portal.ask_all(everybody, question))
        assert portal.asked[TOGETHER if question is OPT_OUT else "batch_read"] >= 1
        statuses = []
        for one, answer in zip(everybody, together, strict=True):
            if one.startswith("rejected"):
                assert isinstance(answer, ValidationError)
                continue
            alone = run(lambda one=one: portal.ask(one, question))  # type: ignore[misc]
            statuses.append((alone.status, answer.status))
            if alone.complete or alone.canceled:
                assert plain(answer) == plain(alone)
        assert [alone for alone, _ in statuses] == [
            "COMPLETE", "CANCELED", "HIBERNATING", "PENDING", "COMPLETE",
        ]  # fmt: skip
        assert all(answer == alone for alone, answer in statuses if alone in {"COMPLETE", "CANCELED"})
        assert all(answer not in {"COMPLETE", "CANCELED"} for alone, answer in statuses if alone != answer)

    @pytest.mark.parametrize(
        ("version", "question"), [("v4", OPT_OUT), ("v4", STATUSES), ("2026-03", STATUSES)]
    )
    def test_in_every_version(self, portal: Portal, version: str, question: Question) -> None:
        portal.version = version
        portal.hubspot.opt_out(*people(3))
        answers = run(lambda: portal.ask_all(people(3), question))
        assert {one.status for answer in answers for one in answer.results} == {"UNSUBSCRIBED"}
        assert len(portal.hubspot.requests) == 1


class TestIndependence:
    def test_a_wait_that_is_cancelled_disturbs_no_other(self, portal: Portal) -> None:
        portal.hubspot.fault("latency", ms=300)

        async def scenario() -> list[Any]:
            tasks = [asyncio.create_task(portal.ask(one)) for one in people(10)]
            while not portal.hubspot.requests:
                await asyncio.sleep(0.05)
            tasks[0].cancel()
            tasks[9].cancel()
            return list(await asyncio.gather(*tasks, return_exceptions=True))

        answers = run(scenario)
        assert [type(answer).__name__ for answer in answers] == [
            "CancelledError", *["Operation"] * 8, "CancelledError",
        ]  # fmt: skip
        assert portal.asked == {TOGETHER: 1}

    def test_a_short_pause_is_not_held_up_by_a_long_one(self, portal: Portal) -> None:
        async def scenario() -> None:
            async with portal.wait("jane@example.com") as ask_late, portal.wait("joe@example.com") as other:
                long = asyncio.ensure_future(ask_late(after=50))
                await asyncio.sleep(0)
                assert (await other(after=0.1)).complete
                long.cancel()
                await asyncio.wait([long])

        run(scenario)
        assert portal.asked == {SINGLE: 1}

    def test_the_last_one_to_be_cancelled_ends_the_request(self, portal: Portal) -> None:
        portal.hubspot.fault("latency", ms=60_000)

        async def scenario() -> None:
            task = asyncio.create_task(portal.ask("jane@example.com"))
            while not portal.hubspot.requests:
                await asyncio.sleep(0.05)
            (client,) = portal.clients
            assert connections_of(client)
            task.cancel()
            await asyncio.wait([task])
            assert not connections_of(client)
            assert task.cancelled()

        run(scenario)
        assert portal.asked == {SINGLE: 1}

    def test_a_subscriber_that_makes_hubspot_refuse_the_batch_is_found_and_the_others_have_their_answers(
        self, portal: Portal
    ) -> None:
        portal.hubspot.load({"batch_errors": "whole"})
        everybody = people(64)
        everybody[17] = "rejected@hubspot-rejects.example"
        answers = run(lambda: portal.ask_all(everybody))
        assert [number for number, answer in enumerate(answers) if isinstance(answer, Exception)] == [17]
        assert isinstance(answers[17], ValidationError)
        assert len(portal.hubspot.requests) == 13  # 1 + 2 x log2(64)

    def test_a_failure_in_one_half_is_not_the_others(self, portal: Portal) -> None:
        portal.hubspot.load({"batch_errors": "whole"})
        everybody = people(8)
        everybody[1] = "rejected@hubspot-rejects.example"
        match = {"path_contains": "batch", "body_contains": "person-7"}
        portal.hubspot.fault("status", status=503, match={**match, "nth": list(range(2, 99))}, times=None)
        answers = run(lambda: portal.ask_all(everybody))
        assert [type(answer).__name__ for answer in answers] == [
            "Operation", "ValidationError", "Operation", "Operation", *["ServerError"] * 4,
        ]  # fmt: skip

    def test_a_failure_that_passes_is_that_polls_of_each_and_the_next_goes_well(self, portal: Portal) -> None:
        portal.hubspot.fault("status", status=503, times=None)

        async def wait_on(subscriber: str) -> tuple[list[bool], str]:
            failures: list[bool] = []
            async with portal.wait(subscriber) as wait:
                while True:
                    try:
                        answer = await wait(after=0.2)
                    except ServerError as error:
                        failures.append(error.retryable)
                        portal.hubspot.clear_faults()
                    else:
                        return failures, answer.status

        async def scenario() -> list[Any]:
            return await asyncio.gather(*map(wait_on, people(5)))

        assert run(scenario) == [([True], "COMPLETE")] * 5

    def test_every_wait_has_an_error_of_its_own(self, portal: Portal) -> None:
        portal.hubspot.fault("status", status=401)
        errors = run(lambda: portal.ask_all(people(3)))
        assert all(isinstance(error, AuthenticationError) for error in errors)
        assert len({id(error) for error in errors}) == 3


class TestConnection:
    def test_is_looked_up_once_for_all_waits_and_polls(self, portal: Portal) -> None:
        async def scenario() -> None:
            async with AsyncExitStack() as stack:
                waits = [await stack.enter_async_context(portal.wait(one)) for one in people(250)]
                for _ in range(3):
                    await asyncio.gather(*(wait(after=0.1) for wait in waits))

        run(scenario)
        assert portal.looked_up == 1

    def test_that_was_removed_ends_the_waits_at_the_next_look(
        self, portal: Portal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(polling_connection, "LOOK_UP_EVERY", 0.2)

        async def scenario() -> None:
            async with portal.wait("jane@example.com") as wait:
                await wait()
                portal.token = None
                with pytest.raises(LookupError, match="no such connection"):
                    await wait(after=0.5)
                portal.token = portal.hubspot.token
                assert (await wait()).complete

        run(scenario)

    def test_with_a_new_token_goes_on(self, portal: Portal) -> None:
        async def scenario() -> None:
            async with portal.wait("jane@example.com") as wait, portal.wait("joe@example.com") as other:
                await asyncio.gather(wait(), other())
                portal.token = portal.hubspot.tokens["read_only"]
                portal.hubspot.fault("status", status=401, match={"token": "all"}, times=None)
                answers = await asyncio.gather(wait(), other())
                assert all(answer.complete for answer in answers)

        run(scenario)
        assert [client.auth.identity() for client in portal.clients[:2]] == [
            portal.hubspot.token, portal.hubspot.tokens["read_only"],
        ]  # fmt: skip

    def test_with_a_token_that_was_revoked_fails_everybody(self, portal: Portal) -> None:
        portal.hubspot.fault("status", status=401, times=None)
        assert {type(error) for error in run(lambda: portal.ask_all(people(150)))} == {AuthenticationError}


class TestWithoutBatchScopes:
    def test_single_calls_are_made_and_it_is_said_once(
        self, hubspot: Simulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        portal = Portal(hubspot, "starter")
        hubspot.opt_out(*people(2))

        async def scenario() -> list[Any]:
            async with AsyncExitStack() as stack:
                waits = [await stack.enter_async_context(portal.wait(one)) for one in people(4)]
                for _ in range(3):
                    answers = await asyncio.gather(*(wait(after=0.1) for wait in waits))
                return answers

        with caplog.at_level(logging.WARNING):
            assert [len(answer.results) for answer in run(scenario)] == [1, 1, 0, 0]
        assert portal.asked == {TOGETHER: 1, SINGLE: 12}
        (said,) = [one.getMessage() for one in caplog.records if "one call per" in one.getMessage()]
        assert "Marketing Hub Enterprise" in said

    def test_without_any_scope_every_wait_fails(self, hubspot: Simulator) -> None:
        hubspot.load({"tokens": {"none": {"value": "pat-na1-none", "scopes": []}}})
        portal = Portal(hubspot)
        portal.token = "pat-na1-none"
        errors = run(lambda: portal.ask_all(people(3)))
        assert {type(error) for error in errors} == {MissingScopesError}


class TestBudget:
    def test_many_waits_come_together_to_one_request_a_hundred_and_interval(self, portal: Portal) -> None:
        """They begin at any time of an interval, of which a second stands for a minute."""
        portal.hubspot.load({"limits": {"burst": 10_000}})
        count, interval, rounds = (1000, 2.0, 4) if LONG else (300, 0.6, 3)

        async def wait_on(number: int, subscriber: str) -> None:
            await asyncio.sleep(interval * number / count)
            async with portal.wait(subscriber) as wait:
                for _ in range(rounds):
                    await wait(after=interval)

        async def scenario() -> None:
            numbers = (number * 7 % count for number in range(count))
            await asyncio.gather(*map(wait_on, numbers, people(count)))

        run(scenario)
        assert sum(portal.asked.values()) <= (1.5 * rounds + 1) * count / 100

    def test_the_oldest_due_is_asked_first(self, hubspot: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(polling, "POLLS_AT_ONCE", 1)  # requests side by side may arrive in any order
        portal = Portal(hubspot, "starter")  # one by one
        hubspot.load({"limits": {"burst": 2, "interval_ms": 100}})
        everybody = people(8)

        async def ask(position: int, subscriber: str) -> None:
            async with portal.wait(subscriber) as wait:
                await wait()
                await wait(after=0.1 + position / 100)

        async def scenario() -> None:
            await asyncio.gather(*(ask(position, one) for position, one in enumerate(everybody)))

        run(scenario)
        paths = [request.path for request in hubspot.requests if request.endpoint == SINGLE]
        assert len(paths) == 16
        order = [next(one for one in everybody if one.split("@")[0] + "%" in path) for path in paths[8:]]
        assert order == everybody

    def test_no_more_than_the_share_is_spent_whatever_is_asked(
        self, portal: Portal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(polling, "SOONEST", 0.01)
        portal.hubspot.load({"limits": {"burst": 20, "interval_ms": 600}})

        async def many(question: Question) -> None:
            async with asyncio.timeout(1.0), portal.wait("jane@example.com", question) as wait:
                while True:
                    await wait()

        async def scenario() -> None:
            questions = (Question(about="opt_out", business_unit_id=brand) for brand in (None, 0))
            asked = (many(question) for question in (*questions, STATUSES))
            await asyncio.gather(*asked, return_exceptions=True)

        run(scenario)
        assert 10 <= len(portal.hubspot.requests) <= 20  # in two intervals of ten at most

    def test_too_small_a_budget_delays_all_alike_and_that_is_said_once(
        self, hubspot: Simulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(polling, "LATE", 0.1)
        monkeypatch.setattr(polling, "SOONEST", 0.01)
        portal = Portal(hubspot, "starter", share=1)
        hubspot.load({"limits": {"burst": 20, "interval_ms": 100}})
        answered: Counter[str] = Counter()

        async def wait_on(subscriber: str) -> None:
            async with portal.wait(subscriber) as ask:
                while True:
                    await ask(after=0.02)
                    answered[subscriber] += 1

        async def scenario() -> None:
            tasks = [asyncio.create_task(wait_on(one)) for one in people(60)]
            while min(answered[one] for one in people(60)) < 3:
                await asyncio.sleep(0.01)
            alike.extend(answered[one] for one in people(60))
            for task in tasks[1:]:
                task.cancel()
            while "in time" not in caplog.text:
                await asyncio.sleep(0.01)
            tasks[0].cancel()
            await asyncio.wait(tasks)

        alike: list[int] = []
        with caplog.at_level(logging.WARNING):
            run(scenario)
        assert max(alike) - min(alike) <= 2
        said = [record.getMessage() for record in caplog.records if "waits on HubSpot" in record.getMessage()]
        assert [("later" in text, "in time" in text) for text in said] == [(True, False), (False, True)]
        assert "@" not in "".join(said)


def connections_of(client: AsyncClient) -> list[Any]:
    assert client._opened is not None
    transport: Any = client._opened._transport
    found: list[Any] = transport._pool.connections  # httpx has no public way
    return found


async def give_up(wait: Any) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await wait(after=60)


class TestTheEnd:
    def test_comes_with_the_last_wait(self, portal: Portal) -> None:
        async def scenario() -> None:
            async with portal.wait("jane@example.com") as first:
                async with portal.wait("joe@example.com") as second:
                    await asyncio.gather(first(), second())
                assert (await first()).complete
                assert connections_of(portal.clients[0])
            assert not connections_of(portal.clients[0])

        run(scenario)
        assert portal.looked_up == 1

    def test_leaves_nothing_behind(self, portal: Portal) -> None:
        portal.hubspot.load({"limits": {"burst": 10_000}})

        def alive() -> int:
            gc.collect()
            kinds = (polling.Poller, AsyncClient, httpx.AsyncHTTPTransport, asyncio.Task)
            return sum(type(thing) in kinds for thing in gc.get_objects())

        async def cycle(number: int) -> None:
            async with portal.wait(f"person-{number}@example.com") as wait:
                if number % 25 == 0:
                    await wait()
                else:
                    await give_up(wait)

        async def scenario() -> None:
            before = alive()
            for number in range(1000 if LONG else 100):
                await cycle(number)
            portal.clients.clear()
            assert alive() <= before + 2

        run(scenario)

    def test_waits_that_are_gone_do_not_pile_up(self, portal: Portal) -> None:
        async def scenario() -> None:
            async with portal.wait("jane@example.com"):
                for _ in range(1000):
                    async with portal.wait("joe@example.com") as gone:
                        await give_up(gone)
                (poller,) = polling._pollers[asyncio.get_running_loop()].values()
                assert len(poller._queue) < 200

        run(scenario)

    def test_a_defect_in_asking_is_raised_where_the_answer_is_waited_for(
        self, portal: Portal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> Any:
            raise TypeError("a defect")

        monkeypatch.setattr(Question, "pair", broken)
        errors = run(lambda: portal.ask_all(people(3)))
        assert [str(error) for error in errors] == ["a defect"] * 3
