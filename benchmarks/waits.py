"""What waiting costs: this package's triggers beside ``HttpSensor(deferrable=True)`` and a bare ``httpx`` loop.

    python benchmarks/waits.py    # --help says more

The local HubSpot is a process of its own, 190 requests in 10 s, 100 ms an answer. Each contender is a fresh process
that runs the real trigger classes' ``run()`` on one event loop, outside Airflow's job runner; the connection is in the
environment. An operation ends at a moment that both know: a wait's lateness is from there to its event.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

LIMIT, LATENCY_MS = 190, 100
Report = dict[str, Any]
_OUT = os.fdopen(os.dup(1), "w")


def address(number: int) -> str:
    """The address of a wait."""
    return f"person-{number}@example.com"


def ends(count: int, first: float, last: float) -> list[float]:
    """Seconds after the start at which each operation ends; both sides know them."""
    draw = random.Random(count)  # noqa: S311 - the same for all
    return [draw.uniform(first, last) for _ in range(count)]


# The local HubSpot ----------------------------------------------------------------------------------


def serve(how: str, count: int, first: float, last: float) -> None:
    """Serve; at a line on stdin begin, at the next print what was asked.

    :param how: ``operations``: all are under way at once; ``appear``: no subscriber is known before its time.
    """
    from airflow_provider_hubprefs.simulator import Simulator
    from airflow_provider_hubprefs.simulator.portal.history import PortalOperation, PreferenceChange

    portal: dict[str, Any] = {"limits": {"burst": LIMIT}}
    if how == "appear":
        portal["unknown_subscriber"] = "not_found"
    with Simulator(portal=portal, latency_ms=LATENCY_MS, record=10) as hubspot:
        say({"url": hubspot.url, "token": hubspot.token})
        sys.stdin.readline()
        start = hubspot.portal.clock.now_ms()
        order = sorted((end, number) for number, end in enumerate(ends(count, first, last)))
        if how == "operations":
            for end, number in order:
                ended = start + int(end * 1000)
                change = PreferenceChange(ended, None, None, "UNSUBSCRIBED", "API")
                hubspot.portal.operations[address(number)] = [
                    PortalOperation(start, int(end * 1000), "COMPLETE", change)
                ]
        elif how == "appear":
            threading.Thread(target=_appear, args=(hubspot, order), daemon=True).start()
        say({"start": time.time()})
        sys.stdin.readline()
        say(hubspot.stats)


def _appear(hubspot: Any, order: list[tuple[float, int]]) -> None:
    began = time.monotonic()
    for end, number in order:
        time.sleep(max(0.0, began + end - time.monotonic()))
        hubspot.opt_out(address(number))


# The contenders -------------------------------------------------------------------------------------


def ours(number: int, interval: float, url: str, token: str) -> Any:
    """The trigger of the sensor that waits for an opt-out."""
    from airflow_provider_hubprefs.hubspot.privacy import encrypt_address
    from airflow_provider_hubprefs.triggers.operation import HubPrefsOperationTrigger

    return HubPrefsOperationTrigger(
        encrypted=encrypt_address(address(number), key=token),
        poke_interval=interval,
        expect="opted_out",
        deadline=time.time() + 3600,
    )


def http(number: int, interval: float, url: str, token: str) -> Any:
    """The trigger of HttpSensor: it waits for as long as the answer is a 404."""
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    path = f"communication-preferences/2026-09/statuses/{quote(address(number), safe='')}?channel=EMAIL"
    return HttpSensorTrigger(
        endpoint=path, method="GET", headers={"Authorization": f"Bearer {token}"}, poke_interval=interval
    )


def empty(number: int, interval: float, url: str, token: str) -> Any:
    """A trigger that only sleeps."""
    from airflow.triggers.base import BaseTrigger, TriggerEvent

    class Empty(BaseTrigger):
        def serialize(self) -> tuple[str, dict[str, Any]]:
            return "Empty", {}

        async def run(self) -> Any:
            until = ALL_ENDS[number]
            while (left := until - (time.time() - START)) > 0:
                await asyncio.sleep(min(interval, left))
            yield TriggerEvent({})  # type: ignore[no-untyped-call]

    return Empty()  # type: ignore[no-untyped-call]


ALL_ENDS: list[float] = []
START = 0.0


async def waiting(triggers: list[Any], start: float) -> Report:
    """Run all; how late each ended, and with what."""
    late: list[float] = []
    ended: dict[str, int] = {}

    async def one(number: int, trigger: Any) -> None:
        try:
            async for event in trigger.run():
                payload = event.payload
                name = payload.get("status", "event") if isinstance(payload, dict) else "event"
                ended[name] = ended.get(name, 0) + 1
                if name in ("success", "event"):
                    late.append(time.time() - start - ALL_ENDS[number])
                break
        except Exception as error:  # noqa: BLE001 - counted
            ended[type(error).__name__] = ended.get(type(error).__name__, 0) + 1

    half = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(20, lambda: half.set_result(_rss()))
    await asyncio.gather(*(one(number, trigger) for number, trigger in enumerate(triggers)))
    late.sort()
    rank = int(len(late) * 0.99)
    return {
        "said": ended,
        "early": sum(each < -0.2 for each in late),
        "max_late": max(late, default=0.0),
        "p99_late": late[min(rank, len(late) - 1)] if late else 0.0,
        "rss_kb": half.result() if half.done() else _rss(),
    }


def contend(name: str, count: int, interval: float, first: float, last: float) -> None:
    """One contender's process: it reads from stdin when to start and where."""
    global ALL_ENDS, START  # noqa: PLW0603 - one process, one run
    import logging

    logging.disable(logging.WARNING)
    ALL_ENDS = ends(count, first, last)
    make = {"ours": ours, "http": http, "empty": empty}[name]
    make(0, interval, "", "")  # what it imports is not counted
    say("ready")
    server = json.loads(sys.stdin.readline())
    START = server["start"]
    before, began = time.process_time(), time.monotonic()
    rss = _rss()
    triggers = [make(number, interval, server["url"], server["token"]) for number in range(count)]
    report = asyncio.run(waiting(triggers, START))
    seconds = time.monotonic() - began
    report |= {"cpu": time.process_time() - before, "seconds": seconds, "rss_before_kb": rss}
    say(report)


def alone(name: str, seconds: float) -> None:
    """One wait that never ends, or a bare loop: CPU a poll, once all is loaded and warm."""
    import httpx

    ours(0, 1, "", "")
    say("ready")
    server = json.loads(sys.stdin.readline())
    polls = 0
    send = httpx.AsyncHTTPTransport.handle_async_request

    async def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal polls
        polls += 1
        return await send(*arguments, **more)

    httpx.AsyncHTTPTransport.handle_async_request = counted  # type: ignore[method-assign]

    async def measured() -> tuple[int, float]:
        work = asyncio.create_task(_poll_ours(server) if name == "ours" else _poll_httpx(server))
        await asyncio.sleep(5)
        before = polls, time.process_time()
        await asyncio.sleep(seconds)
        after = polls, time.process_time()
        work.cancel()
        await asyncio.wait([work])
        return after[0] - before[0], after[1] - before[1]

    asked, cpu = asyncio.run(measured())
    say({"polls": asked, "cpu": cpu})


async def _poll_ours(server: Report) -> None:
    from airflow_provider_hubprefs.triggers import operation

    operation._JITTER = 0.0  # as often as the other
    async for _ in ours(0, 0.2, server["url"], server["token"]).run():
        pass


async def _poll_httpx(server: Report) -> None:
    import httpx

    path = f"{server['url']}/communication-preferences/2026-09/statuses/{quote(address(0), safe='')}/unsubscribe-all"
    headers = {"Authorization": f"Bearer {server['token']}"}
    async with httpx.AsyncClient(headers=headers) as client:
        while not (await client.get(path, params={"channel": "EMAIL"})).json()["results"]:
            await asyncio.sleep(0.2)


def say(what: object) -> None:
    """A line to the benchmark; what Airflow prints goes elsewhere."""
    _OUT.write(json.dumps(what) + "\n")
    _OUT.flush()


def _rss() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


# The run --------------------------------------------------------------------------------------------


def start(arguments: list[str], *, python: str = sys.executable, env: dict[str, str] | None = None) -> Any:
    """A process of this file."""
    return subprocess.Popen(
        [python, __file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )


def heard(process: Any) -> Any:
    """Its next line."""
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a process of the benchmark ended: {process.args}")
    return json.loads(line)


def compare(
    name: str, mode: list[str], how: str, numbers: list[str], *, python: str = sys.executable
) -> Report:
    """One contender against a fresh local HubSpot."""
    with tempfile.TemporaryDirectory() as folder:
        server = start(["serve", how, *numbers])
        where = heard(server)
        extra = json.dumps({"budget_store": f"file://{folder}"})
        ours_at = {"conn_type": "hubprefs", "host": where["url"], "password": where["token"], "extra": extra}
        env = {
            "AIRFLOW_CONN_HUBPREFS_DEFAULT": json.dumps(ours_at),
            "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps({"conn_type": "http", "host": where["url"]}),
            "AIRFLOW_HOME": folder,
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }
        contender = start([mode[0], name, *mode[1:]], python=python, env=env)
        heard(contender)
        server.stdin.write("go\n")
        server.stdin.flush()
        contender.stdin.write(json.dumps({**where, **heard(server)}) + "\n")
        contender.stdin.flush()
        report: Report = heard(contender)
        server.stdin.write("stats\n")
        server.stdin.flush()
        stats = heard(server)
        contender.wait()
        server.wait()
    return {
        **report,
        "requests": stats["requests"],
        "refused": sum(of.get("429", 0) for of in stats["answers"].values()),
    }


def row(name: str, report: Report, count: int, floor_kb: float) -> str:
    """One line of the table."""
    own = (report["rss_kb"] - report["rss_before_kb"]) / count
    return (
        f"| {name} | {report['requests']} | {report['requests'] / report['seconds'] * 60:.0f} | {report['refused']} "
        f"| {report['max_late']:.1f} | {report['p99_late']:.1f} | {report['cpu'] / report['seconds'] * 100:.1f} "
        f"| {own - floor_kb:.1f} | {report['said']} |"
    )


HEAD = (
    "| waits | requests | per minute | 429s | latest s | 99 % s | CPU % of a core | KB per wait over empty | events |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Run all and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--waits", type=int, default=10_000)
    parser.add_argument("--beside", type=int, default=1_000, help="waits beside HttpSensor")
    parser.add_argument("--interval", type=float, default=60.0, help="seconds")
    parser.add_argument("--first", type=float, default=60.0, help="seconds until the first operation ends")
    parser.add_argument("--last", type=float, default=240.0, help="seconds until the last one does")
    parser.add_argument("--http-python", help="of an environment with apache-airflow-providers-http")
    parser.add_argument("--rounds", type=int, default=5, help="of one wait beside a bare loop")
    parser.add_argument("--only", choices=["many", "beside", "one"])
    options = parser.parse_args()
    span = [str(options.first), str(options.last)]

    def run(name: str, count: int, how: str, python: str = sys.executable) -> tuple[Report, float]:
        when = ["21", "22"] if name == "empty" else span  # its memory is all there is to see
        mode = ["contend", str(count), str(options.interval), *when]
        report = compare(name, mode, how, [str(count), *when], python=python)
        return report, (report["rss_kb"] - report["rss_before_kb"]) / count

    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("apache-airflow", "httpx"))
    print(f"{versions}; load {os.getloadavg()[0]:.1f} at the start")
    if options.only in (None, "many"):
        _, floor = run("empty", options.waits, "none")
        report, _ = run("ours", options.waits, "operations")
        print(HEAD, row(f"{options.waits} ours", report, options.waits, floor), sep="\n", flush=True)
        one_by_one = options.waits * 60 / options.interval
        print(f"one by one: {one_by_one:.0f} requests a minute; an empty trigger: {floor:.1f} KB")
    if options.only in (None, "beside"):
        _, floor = run("empty", options.beside, "none")
        print(HEAD, flush=True)
        report, _ = run("ours", options.beside, "appear")
        print(row(f"{options.beside} ours", report, options.beside, floor), flush=True)
        if options.http_python:
            report, _ = run("http", options.beside, "appear", options.http_python)
            print(row(f"{options.beside} HttpSensor", report, options.beside, floor), flush=True)
    if options.only in (None, "one"):
        per: dict[str, list[float]] = {"ours": [], "httpx": []}
        for _ in range(options.rounds):  # in turns: the machine's speed changes from minute to minute
            for name, figures in per.items():
                report = compare(name, ["alone", "20"], "none", ["1", *span])
                figures.append(report["cpu"] / report["polls"] * 1000)
        for name, figures in per.items():
            listed = " ".join(f"{figure:.2f}" for figure in figures)
            print(f"1 wait, {name}: {statistics.median(figures):.2f} ms CPU a poll ({listed})")
        print(f"ratio {statistics.median(per['ours']) / statistics.median(per['httpx']):.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ("serve", "contend", "alone"):
        os.dup2(2, 1)
    match sys.argv[1:]:
        case ["serve", how, count, first, last]:
            serve(how, int(count), float(first), float(last))
        case ["contend", name, count, interval, first, last]:
            contend(name, int(count), float(interval), float(first), float(last))
        case ["alone", name, seconds]:
            alone(name, float(seconds))
        case _:
            main()
