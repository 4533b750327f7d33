"""What a plan of a list costs of which one row in a hundred differs from HubSpot, and what applying it costs.

    python benchmarks/plan.py                   # 1,000,000 rows at HubSpot's ceiling: ten minutes
    python benchmarks/plan.py --rows 100000

Making and applying are processes of their own, and so is the local HubSpot. It fails where a number is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from bulk import BATCH, cpu, idle_task, memory  # type: ignore[import-not-found]

INTERVAL = 10.0
MOST_MEMORY = 80.0
"""MB over idle."""
MOST_TIME = 1.03
"""Times what the requests take at HubSpot's ceiling."""
MOST_REQUESTS = 1.01
"""Times the batches there are."""


def work(what: str, folder: Path, url: str, token: str) -> dict[str, Any]:
    """Make the plan, or apply it, in this process; return what it cost."""
    idle_task()
    idle = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest value so far is forgotten
    begin, before = time.monotonic(), cpu()
    summary = {"plan": made, "apply": applied}[what](folder, url, token)
    return {
        "seconds": time.monotonic() - begin,
        "cpu": cpu() - before,
        "memory": memory("VmHWM") - idle,
        **{name: summary[name] for name in ("requests", "read", "changed", "unchanged", "throttled")},
    }


def made(folder: Path, url: str, token: str) -> dict[str, Any]:
    """Compare all rows."""
    from airflow_provider_hubprefs.bulk.plan.actions import Rules
    from airflow_provider_hubprefs.bulk.plan.compare import Comparison
    from airflow_provider_hubprefs.bulk.plan.run import make_plan
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder
    from airflow_provider_hubprefs.bulk.source.columns import Columns
    from airflow_provider_hubprefs.bulk.source.reader import reader_of
    from airflow_provider_hubprefs.bulk.source.size import SourceSize

    source = folder / "wanted.csv"
    size = SourceSize(source)
    columns = Columns(status="status", subscription="id", everything_allowed=True)
    client = client_of(url, token)
    comparison = Comparison(client.calls, Rules(), columns)
    return make_plan(
        client,
        comparison,
        reader_of(size.source, columns=columns, check=comparison.row_check),
        source_size=size,
        folder=RunFolder(folder / "plan"),
        checkpoint=checkpoint_in(folder / "plan", client, source, comparison),
    )


def applied(folder: Path, url: str, token: str) -> dict[str, Any]:
    """Write what differs."""
    from airflow_provider_hubprefs.bulk.plan.apply import Application
    from airflow_provider_hubprefs.bulk.plan.file import PlanFile
    from airflow_provider_hubprefs.bulk.plan.run import apply_plan
    from airflow_provider_hubprefs.bulk.report.folder import RunFolder

    client, plan = client_of(url, token), PlanFile(folder / "plan" / "plan.jsonl")
    write = Application(client.calls, plan.header)
    checkpoint = checkpoint_in(folder / "apply", client, plan.path, write)
    return apply_plan(client, plan, folder=RunFolder(folder / "apply"), checkpoint=checkpoint)


def client_of(url: str, token: str) -> Any:
    """With the budget that is the default."""
    from airflow_provider_hubprefs.hubspot.transport.auth import StaticToken
    from airflow_provider_hubprefs.hubspot.transport.client import Client

    return Client(StaticToken(token), host=url)


def checkpoint_in(folder: Path, client: Any, source: Any, write: Any) -> Any:
    """As operators have one."""
    from airflow_provider_hubprefs.bulk.report.checkpoint import Checkpoint, Identity
    from airflow_provider_hubprefs.storage import ObjectPlace

    identity = Identity(client, source, arguments=write.arguments())
    return Checkpoint(ObjectPlace(folder / "checkpoint"), identity)


@contextmanager
def hubspot(folder: Path, rows: int, every: int, *, limit: int, latency: int) -> Iterator[dict[str, Any]]:
    """Run a local HubSpot that has all but one row of so many as wanted, and write the list."""
    number = 48120091
    statuses = {f"person-{at}@example.com": {"opted_out": True} for at in range(rows) if at % every}
    (folder / "portal.json").write_text(json.dumps({"portal_id": number, "subscribers": statuses}))
    simulator = ["-m", "airflow_provider_hubprefs.simulator", "--record", "20000"]
    simulator += ["--portal", str(folder / "portal.json"), "--burst-limit", str(limit)]
    simulator += ["--latency-ms", str(latency)]
    with subprocess.Popen([sys.executable, *simulator], stdout=subprocess.PIPE, text=True) as process:
        try:
            portal = json.loads(process.stdout.readline()) if process.stdout else {}
            with (folder / "wanted.csv").open("w") as file:
                file.write("email,status,id\n")
                for at in range(rows):
                    file.write(f"person-{at}@example.com,UNSUBSCRIBED,{portal['subscription_ids'][0]}\n")
            yield portal
        finally:
            process.terminate()


def first_to_last(url: str) -> tuple[int, float]:
    """Requests for statuses since the last call, and the seconds from the first to the last."""
    from datetime import datetime

    with urllib.request.urlopen(f"{url}/_simulator/requests?limit=100000") as answer:  # noqa: S310 - loopback
        found = [one for one in json.loads(answer.read())["requests"] if "/statuses/" in one["path"]]
    times = [datetime.fromisoformat(one["time"]) for one in found]
    return len(times), (times[-1] - times[0]).total_seconds() if times else 0.0


def report(what: str, spent: dict[str, Any], batches: int, paced: tuple[int, float], limit: int) -> list[str]:
    """Print what it cost; return what was missed."""
    requests, took = paced
    least = requests * INTERVAL / limit  # as benchmarks/README.md counts: a million rows take 526 s
    print(
        f"{what:6} {spent['read']:>9,} rows, {spent['changed']:>7,} to change: {requests:,} requests "
        f"({batches:,} batches), {spent['throttled']} answered 429; {took:.1f} s from the first to the last, the limit "
        f"allows {least:.1f} ({took / least if least else math.nan:.3f}); {spent['cpu']:.1f} CPU s; "
        f"{spent['memory']:.1f} MB over idle; {spent['seconds']:.1f} s in all",
        flush=True,
    )
    missed = []
    if requests > batches * MOST_REQUESTS:
        missed.append(f"{what}: {requests} requests for {batches} batches")
    if spent["memory"] > MOST_MEMORY:
        missed.append(f"{what}: {spent['memory']:.1f} MB over idle")
    if least and took > least * MOST_TIME:
        missed.append(f"{what}: {took / least:.3f} times the limit's time")
    return missed


def main() -> None:
    """Do all of it, or one process' part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rows", type=int, default=1_000_000)
    add("--every", type=int, default=100, help="one row of so many differs")
    add("--limit", type=int, default=190, help="requests in 10 s")
    add("--latency-ms", type=int, default=120)
    add("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        what, folder, url, token = options.work
        print(json.dumps(work(what, Path(folder), url, token)))
        return
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with hubspot(
            folder, options.rows, options.every, limit=options.limit, latency=options.latency_ms
        ) as portal:
            changes, seen = math.ceil(options.rows / options.every), 0
            batches = {"plan": math.ceil(options.rows / BATCH), "apply": 2 * math.ceil(changes / BATCH)}
            for what, most in batches.items():
                time.sleep(INTERVAL)  # the window of the one before has passed
                command = [sys.executable, __file__, "--work", what, name, portal["url"], portal["token"]]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
                spent = json.loads(done.stdout.splitlines()[-1])
                expected = (options.rows if what == "plan" else changes, changes)
                if (spent["read"], spent["changed"]) != expected:
                    missed.append(f"{what}: expected {expected}, got {spent['read'], spent['changed']}")
                count, took = first_to_last(portal["url"])
                missed += report(
                    what, spent, most, (count - seen, took if what == "plan" else 0.0), options.limit
                )
                seen = count
    if missed:
        sys.exit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
