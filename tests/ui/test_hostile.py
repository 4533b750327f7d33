"""Hostile texts in every field of a report, in a real browser, with the headers that the API server sends."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from tests.browser import chromium, needs_browser
from tests.ui.conftest import PAGE, REPORT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTILE = (
    "<script>hit('script')</script>",
    "</script><script>hit('end of script')</script>",
    "</style><script>hit('end of style')</script>",
    "</title><script>hit('title')</script>",
    "\"'><img src=x onerror=hit('image')>",
    "<svg><title><img src=x onerror=hit('svg')></title></svg>",
    "<a id=link name=said href=javascript:hit('link')>link</a><form id=root><input name=dataset></form><main>",
    "<iframe srcdoc=\"<script>parent.hit('frame')</script>\"></iframe><base href=https://example.org/>",
    "<meta http-equiv=refresh content='0;url=javascript:hit(1)'>}</style><style>*{display:none!important}</style>",
    "{{7001*7001}}{% raw %}${7001*7001}",
    "\u202e\u2066gpj.exe\u0000\u2028",
    "x" * 1_000_000,
)


@pytest.fixture
def url(app: Any) -> Iterator[str]:
    """The app, served."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@needs_browser
def test_no_hostile_text_runs_or_changes_the_page(url: str, run: Path, record: Any, client: Any) -> None:
    fields = {name for name, value in REPORT.items() if value is None or type(value) is str} - {"state"}
    hostile: dict[str, Any] = dict(zip(sorted(fields) * 9, HOSTILE, strict=False))
    everything = "".join(HOSTILE[:-1])
    hostile |= dict.fromkeys(("write", "connection", "report", "done", "provider_version"), everything)
    hostile |= {
        "state": "running",
        "complete": False,
        "portal": everything,
        "source_names": list(HOSTILE),
        "reasons": {f"rejected: {text}": 1 for text in HOSTILE},
        "run": dict.fromkeys(("dag_id", "run_id", "task_id", "started_by", "map_index"), everything),
        "operations": dict.fromkeys(HOSTILE[:-1], everything),
        "history": [[0, 1, 1, 1, 1], [1, 2, 2, 2, 2], [everything] * 5],
    }
    (run / "report.json").write_text(json.dumps({**REPORT, **hostile}))
    letters = [
        {"row": text, "subscriber": text, "outcome": text, "category": text, "message": text}
        for text in HOSTILE
    ]
    (run / "dead_letters.jsonl").write_text("\n".join(map(json.dumps, letters)))
    known = {"connection": everything, "state": everything, "budget": {"daily": 1, "daily_remaining": 1}}
    record(task_id="theirs", state="running", known={**known, "changed": 1})
    record(task_id="mine", state="running", known={"folder": str(run).replace("opt_out", "mine")})
    (run.parent / "mine").symlink_to(run)
    token = client("viewer").cookies["_token"]
    with chromium() as browser:
        context = browser.new_context()
        context.add_cookies([{"name": "_token", "value": token, "url": url}])
        context.add_init_script("window.hits = []; window.hit = (what) => window.hits.push(what);")
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        for path in (PAGE + "page", PAGE + "report.html", PAGE + "fragment", "/hubprefs/recent"):
            page = context.new_page()
            page.goto(url + path)
            page.wait_for_timeout(
                2500 if path.endswith("/page") else 200
            )  # the page has asked for its fragment
            assert page.evaluate("window.hits") == [], path
            foreign = (
                "iframe, form, base, img, main main, main script, main style, [onerror], [href^=javascript]"
            )
            assert page.locator(foreign).count() == 0, path
            assert page.locator("main").count() == 1
            assert page.locator("main").is_visible()
            assert ("7,779" in page.content()) == (
                path != "/hubprefs/recent"
            )  # the report, and not why there is none
            assert page.locator("#link").count() == (1 if path.endswith("/page") else 0)
            assert "49014001" not in page.locator("main").inner_text(), path
            assert len(page.content()) < 400_000
            page.close()
        assert {one.split("/hubprefs/")[0] for one in asked if not one.startswith("data:")} == {url}
