"""What a bulk opt-out costs: this package beside the loop people write by hand, in one run.

    .venv/bin/python benchmarks/bulk.py 100000

Both opt the same addresses out of the same local HubSpot (a process of its own, without a rate limit), by batches
of 100 with verbose answers. Each contender is a fresh process; CPU seconds are its own.
"""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 100


def by_hubprefs(path: Path, url: str, token: str) -> int:
    """Stream, de-duplicate, four requests under way, every answer turned into outcomes, a mark every second."""
    from airflow_provider_hubprefs.bulk.checkpoint import Checkpoint, ObjectPlace, identity_of
    from airflow_provider_hubprefs.bulk.run import carry_out
    from airflow_provider_hubprefs.bulk.source import read_rows
    from airflow_provider_hubprefs.bulk.writes import UnsubscribeAll
    from airflow_provider_hubprefs.hubspot.auth import StaticToken
    from airflow_provider_hubprefs.hubspot.client import Client

    client = Client(StaticToken(token), host=url)
    write = UnsubscribeAll(client.calls)
    identity = identity_of(client, path, arguments=write.arguments())
    checkpoint = Checkpoint(ObjectPlace(path.parent / "mark"), identity or {})
    summary = carry_out(client, write, read_rows(path), batch_size=BATCH, checkpoint=checkpoint)
    return int(summary["changed"] + summary["unchanged"])


def by_hand(path: Path, url: str, token: str) -> int:
    """Read all rows, de-duplicate in a dict, one request after the other, keep the results."""
    import requests

    with path.open(newline="") as file:
        addresses = list(dict.fromkeys(row["email"].strip().lower() for row in csv.DictReader(file)))
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    target = (
        f"{url}/communication-preferences/2026-09/statuses/batch/unsubscribe-all?channel=EMAIL&verbose=true"
    )
    results: list[Any] = []
    for start in range(0, len(addresses), BATCH):
        answer = session.post(target, json={"inputs": addresses[start : start + BATCH]}, timeout=60)
        answer.raise_for_status()
        results += answer.json()["results"]
    return len(results)


CONTENDERS: dict[str, Callable[[Path, str, str], int]] = {"hubprefs": by_hubprefs, "by hand": by_hand}


def contend(name: str, path: Path, url: str, token: str) -> None:
    """Run one contender in this process, and print what it cost as JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.monotonic()
    done = CONTENDERS[name](path, url, token)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    grown = (after.ru_maxrss - before.ru_maxrss) / 1024
    print(json.dumps({"done": done, "cpu": cpu, "wall": time.monotonic() - begin, "grown": grown}))


def main(rows: int) -> None:
    """Let the contenders run one after the other, and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.csv"
        with path.open("w") as file:
            file.write("email,name\n")
            file.writelines(f"person-{number}@mail{number % 97}.example.com,P\n" for number in range(rows))
        print(f"{rows:,} distinct addresses; seconds of CPU, seconds in all, MB grown (imports included)")
        first: dict[str, float] | None = None
        for name in CONTENDERS:
            cost = one(name, path)
            first = first or cost
            ratio = f"{first['cpu'] / cost['cpu']:.2f} x CPU, {first['grown'] / cost['grown']:.2f} x memory"
            figures = f"{cost['cpu']:8.1f} s {cost['wall']:8.1f} s {cost['grown']:8.1f} MB"
            print(f"{name:10} {figures}   {'' if cost is first else f'hubprefs needs {ratio} of it'}")


def one(name: str, path: Path) -> dict[str, float]:
    """Start a local HubSpot and a contender, and return what the contender cost."""
    simulator = [sys.executable, "-m", "airflow_provider_hubprefs.simulator", "--record", "10"]
    limits = ["--burst-limit", "10000", "--daily-limit", "100000000"]
    with subprocess.Popen([*simulator, *limits], stdout=subprocess.PIPE, text=True) as hubspot:
        try:
            said = json.loads(hubspot.stdout.readline()) if hubspot.stdout else {}
            command = [sys.executable, __file__, name, str(path), said["url"], said["token"]]
            found: dict[str, float] = json.loads(
                subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            )
            return found
        finally:
            hubspot.terminate()


if __name__ == "__main__":
    if len(sys.argv) == 5:
        contend(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
