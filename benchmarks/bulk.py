"""What a bulk opt-out costs: this package beside the official SDK and the loop people write by hand, in one run.

    make benchmarks/.venv                  # the SDK, in an environment of its own
    .venv/bin/python benchmarks/bulk.py    # --help says more

All opt the same addresses out by batches of 100, with per-row answers and without. Each contender is a fresh process
and so is the local HubSpot, which has no rate limit here: CPU seconds and memory are the contender's own.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SDK = HERE / ".venv" / "bin" / "python"
BATCH = 100

Run = Callable[[], Counter[str]]
"""Does the job; counts rows by what became of them."""


def hubprefs(path: Path, url: str, token: str) -> Run:
    """Stream, find duplicates, keep eight requests in flight, read answers into outcomes, save checkpoints."""
    from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint, Identity
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.send.writes import UnsubscribeAll
    from airflow_provider_hubprefs.bulk.source.reader import reader_of
    from airflow_provider_hubprefs.bulk.source.size import SourceSize
    from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
    from airflow_provider_hubprefs.hubspot.transport.client import Client
    from airflow_provider_hubprefs.storage import ObjectPlace

    def run() -> Counter[str]:
        client = Client(StaticToken(token), host=url)
        write = UnsubscribeAll(client.calls)
        identity = Identity(client, path, arguments=write.arguments())
        checkpoint = Checkpoint(ObjectPlace(path.parent / "checkpoint"), identity)
        from airflow_provider_hubprefs.bulk.send.run import run_bulk

        summary = run_bulk(
            client,
            write,
            reader_of(path),
            source_size=SourceSize(path),
            batch_size=BATCH,
            folder=RunFolder(path.parent / "run"),
            checkpoint=checkpoint,
        )
        return Counter(done=summary["changed"] + summary["unchanged"], requests=summary["requests"])

    return run


def sdk(path: Path, url: str, token: str) -> Run:
    """The official SDK in a plain loop over a list of all rows; what it answers is kept, as a notebook does."""
    from hubspot_sdk import HubSpot

    def run() -> Counter[str]:
        client = HubSpot(access_token=token, base_url=url)
        opt_out = client.communication_preferences.statuses.batch.unsubscribe_all
        addresses = read_all(path)
        results: list[Any] = []
        counts: Counter[str] = Counter(requests=0)
        for start in range(0, len(addresses), BATCH):
            batch = addresses[start : start + BATCH]
            answer = opt_out(channel="EMAIL", inputs=batch, verbose=True)
            counts["requests"] += 1
            counts["done"] += sum(
                all(one.status == "UNSUBSCRIBED" for one in row.statuses or ()) for row in answer.results
            )
            results += answer.results
        return counts

    return run


def by_hand(path: Path, url: str, token: str) -> Run:
    """The same with ``requests.Session`` and dicts."""
    import requests

    def run() -> Counter[str]:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token}"
        query = "channel=EMAIL&verbose=true"
        target = f"{url}/communication-preferences/2026-09/statuses/batch/unsubscribe-all?{query}"
        addresses = read_all(path)
        results: list[Any] = []
        counts: Counter[str] = Counter(requests=0)
        for start in range(0, len(addresses), BATCH):
            batch = addresses[start : start + BATCH]
            answer = session.post(target, json={"inputs": batch}, timeout=60)
            answer.raise_for_status()
            counts["requests"] += 1
            rows = answer.json()["results"]
            counts["done"] += sum(
                all(one["status"] == "UNSUBSCRIBED" for one in row["statuses"]) for row in rows
            )
            results += rows
        return counts

    return run


def read_all(path: Path) -> list[str]:
    """All addresses in a list, each once: how a script does it."""
    with path.open(newline="") as file:
        return list(dict.fromkeys(row["email"].strip().lower() for row in csv.DictReader(file)))


CONTENDERS: dict[str, Callable[..., Run]] = {"hubprefs": hubprefs, "SDK": sdk, "by hand": by_hand}


# What runs in a process of its own ------------------------------------------------------------------------


def contend(name: str, path: Path, url: str, token: str) -> None:
    """Run one contender in this process, and print what it cost as JSON.

    Memory counts from a process that has loaded what an Airflow task has (the others: plain Python), CPU from
    where the contender's own imports are done.
    """
    if name == "hubprefs":
        idle_task()
    idle = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest value so far is forgotten
    run = CONTENDERS[name](path, url, token)
    before, begin = cpu(), time.monotonic()
    counts = run()
    spent = {"cpu": cpu() - before, "wall": time.monotonic() - begin, "memory": memory("VmHWM") - idle}
    print(json.dumps({**counts, **spent, "idle": idle}))


def idle_task() -> None:
    """Load what a process that Airflow runs a task in has loaded before it executes an operator of ours."""
    for module in ("airflow.sdk.execution_time.task_runner", "airflow_provider_hubprefs.operators.bulk"):
        importlib.import_module(module)


def cpu() -> float:
    """Seconds of CPU this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def memory(field: str) -> float:
    """A line of the kernel's account of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def answers(url: str, token: str, interpreter: str) -> None:
    """Print, as JSON, what reading one verbose answer of 100 takes: microseconds, a median of 200."""
    import urllib.request

    addresses = [f"person-{number}@example.com" for number in range(BATCH)]
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{url}/communication-preferences/2026-09/statuses/batch/unsubscribe-all?channel=EMAIL&verbose=true",
        json.dumps({"inputs": addresses}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310 - loopback
        body = response.read()
    read = {"hubprefs": reading_of_hubprefs, "SDK": reading_of_sdk}[interpreter]()
    took = []
    for _ in range(200):
        begin = time.perf_counter()
        read(body)
        took.append((time.perf_counter() - begin) * 1e6)
    print(json.dumps({"bytes": len(body), "us": statistics.median(took)}))


def reading_of_hubprefs() -> Callable[[bytes], Any]:
    """From the bytes to what a run looks at of every subscriber."""
    from airflow_provider_hubprefs.bulk.send.writes import SAMPLE_ROW, UnsubscribeAll
    from airflow_provider_hubprefs.hubspot.api.calls import Calls
    from airflow_provider_hubprefs.hubspot.api.models import Reply

    pair = UnsubscribeAll(Calls()).write
    assert pair is not None  # noqa: S101 - for mypy
    call = pair.batch([SAMPLE_ROW])
    return lambda body: call.conclude(Reply(200, {}, body))


def reading_of_sdk() -> Callable[[bytes], Any]:
    """The same with the SDK's own classes, as it does it."""
    import httpx
    from hubspot_sdk import HubSpot

    answer: list[bytes] = [b""]
    headers = {"Content-Type": "application/json"}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, headers=headers, content=answer[0]))
    client = HubSpot(access_token="-", http_client=httpx.Client(transport=transport))  # noqa: S106
    raw = client.communication_preferences.statuses.batch.with_raw_response.unsubscribe_all

    def read(body: bytes) -> Any:
        answer[0] = body
        return raw(channel="EMAIL", inputs=["jane@example.com"], verbose=True).parse()

    return read


# What runs them -------------------------------------------------------------------------------------------


@contextmanager
def hubspot(*, stub: bool) -> Iterator[dict[str, Any]]:
    """Run a local HubSpot without a rate limit, or what only answers like one."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as portal:
        json.dump({"limits": {"burst": 10_000, "interval_ms": 1000, "daily": 1_000_000_000}}, portal)
        portal.flush()
        simulator = ["-m", "airflow_provider_hubprefs.simulator", "--record", "10", "--portal", portal.name]
        command = [sys.executable, *([str(HERE / "stub.py")] if stub else simulator)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield json.loads(process.stdout.readline()) if process.stdout else {}
            finally:
                process.terminate()


def in_process(name: str, *arguments: str) -> dict[str, Any]:
    """Run this file again, with the interpreter that the contender needs."""
    interpreter = SDK if name == "SDK" else sys.executable
    command = [str(interpreter), __file__, *arguments]
    environment = {**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(names: list[str], path: Path, *, rows: int, rounds: int, stub: bool) -> None:
    """Let the contenders run one after the other, so many rounds, and print the medians."""
    costs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            with hubspot(stub=stub) as portal:
                where = [str(path), portal["url"], portal["token"]]
                cost = in_process(name, "contend", name, *where)
            if cost["done"] != rows:
                sys.exit(f"{name}: {cost['done']} of {rows} rows are done")
            costs[name].append(cost)
    print(
        "\n                CPU s    wall s   MB over idle   requests   CPU of ours / its   memory of ours / its"
    )
    ours = costs[names[0]]
    for name in names:
        each = {field: statistics.median(cost[field] for cost in costs[name]) for field in costs[name][0]}
        line = f"{name:10} {each['cpu']:10.2f} {each['wall']:9.1f} {each['memory']:14.1f} {each['requests']:10.0f}"
        if name != names[0]:
            cpus, memories = (
                statistics.median(our[field] / its[field] for our, its in zip(ours, costs[name], strict=True))
                for field in ("cpu", "memory")
            )
            line += f" {cpus:19.3f} {memories:22.3f}"
        print(line, flush=True)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    add = parser.add_argument
    add("--rows", type=int, default=100_000, help="distinct addresses (%(default)s)")
    add("--rounds", type=int, default=1, help="of which the medians are shown (%(default)s)")
    add("--only", choices=["runs", "reading"], help="one of the tables")
    add("--contenders", default=",".join(CONTENDERS), help="separated by commas (%(default)s)")
    add("--stub", action="store_true", help="a server that only answers, instead of the simulator")
    options = parser.parse_args()
    names = [name for name in options.contenders.split(",") if name != "SDK" or SDK.exists()]
    if "SDK" not in names and "SDK" in options.contenders:
        print("the SDK is left out: `make benchmarks/.venv` installs it")
    load = os.getloadavg()[0]
    print(f"{options.rows:,} distinct addresses, batches of {BATCH}, medians of {options.rounds}; "
          f"{os.cpu_count()} CPUs, load before {load:.1f}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.csv"
        with path.open("w") as file:
            file.write("email,name\n")
            file.writelines(
                f"person-{number}@mail{number % 97}.example.com,P\n" for number in range(options.rows)
            )
        if options.only in (None, "runs"):
            compare(names, path, rows=options.rows, rounds=options.rounds, stub=options.stub)
    if options.only in (None, "reading"):
        reading([name for name in names if name != "by hand"])


def reading(names: list[str]) -> None:
    """Print what reading one verbose answer takes, from its bytes to objects."""
    print(f"\nreading a verbose answer of {BATCH}, microseconds")
    with hubspot(stub=True) as portal:
        found = {name: in_process(name, "answers", portal["url"], portal["token"], name) for name in names}
    for name, cost in found.items():
        share = found[names[0]]["us"] / cost["us"]
        print(
            f"{name:10} {cost['us']:8.0f}   {'' if name == names[0] else f'ours is 1/{1 / share:.1f} of it'}"
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["contend", name, path, url, token]:
            contend(name, Path(path), url, token)
        case ["answers", url, token, name]:
            answers(url, token, name)
        case _:
            main()
