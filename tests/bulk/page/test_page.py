"""The page of a run says what became of it; nothing in it runs, names an address or is loaded from elsewhere."""

from __future__ import annotations

import json
import re
import time
from html import escape
from html.parser import HTMLParser
from typing import Any

import pytest

from airflow_provider_hubprefs.bulk.page.charts import charts_of
from airflow_provider_hubprefs.bulk.page.page import Live, render
from tests.bulk.page import reports

ADDRESS = "jane.doe@example.com"
LIVE = Live("c2VjcmV0LW5vbmNl")


class _Seen(HTMLParser):
    """The tags of a page with their attributes, and its text without styles and scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._within = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._within = tag

    def handle_data(self, data: str) -> None:
        if self._within not in {"style", "script"}:
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def of(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag in tags]


def text_of(report: dict[str, Any] | None, letters: Any = (), **how: Any) -> str:
    return _Seen(render(report, letters, **how)).text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("complete", ["948 of 1,000 opted out", "Complete, 14 not applied", "26 Nov 2026, 02:00:09 UTC"]),
        ("running", ["405,132 opted out so far", "41 % of the source read", "about 5 min 12 s left", "64 files"]),
        ("waiting", ["423 of 1,000 opted out", "Waiting for HubSpot", "525 with HubSpot", "Nothing, for now"]),
        ("million", ["983,443 of 1,000,000 opted out", "2 unconfirmed", "The first 100 dead letters", "Map index 3"]),
        ("ended-early", ["293 of 300 opted out before the run ended", "Grant the app what", "Not read 700"]),
        ("no-budget", ["Ended early", "the account has 30 of its 250,000 left for today", "Clear the task"]),
        ("tiny", ["1 of 1 opted out", "What became of the row", "Request 1"]),
        ("no-rows", ["No rows were read"]),
        ("one-subscriber", ["1 subscriber opted out", "Complete", "DAG suppression", "Try 1"]),
        ("one-unconfirmed", ["HubSpot has not confirmed it", "OPERATION_ PENDING", "HubSpot accepted the row"]),
        ("schema-1", ["948 of 1,000 applied", "Complete, 14 not applied"]),
        ("empty", ["No report yet"]),
        ("none", ["No report yet"]),
        ("planned", [
            "1,012 of 100,000 would change", "1,012 to change, 98,904 as wanted, 70 left to HubSpot, 14 not planned.",
            "2 guards tripped", "Resubscribed after an opt-out (8, limit 0), ",
            "Fewer rows than the last time (35.4 %, limit 20 %)",
            "What would become of the 100,000 rows", "Opt out of everything 203 190 +13", "Resubscribe 8 0 +8",
            "Rows in the source 100,000 154,770 -54,770", "25 Nov 2026, 02:04:10 UTC",
            "Everything NOT_ SPECIFIED UNSUBSCRIBED 203", "Subscription 348211915 NOT_ SPECIFIED SUBSCRIBED 19",
            "<script>alert(1)</script> 348211911 SUBSCRIBED UNSUBSCRIBED 31",
            "Tripped 8 limit 0 Look at these rows.", "such as j***@e***.com, m***@g***.com, b***@e***.org",
            "Passed 0 no limit", "Plan's checksum 5f1d7a84", "Audit trail /data", "Audit's last hash b7a8091a",
        ]),
        ("by-rule", ["1,012 of 100,000 would change", "70 left to HubSpot.", "Not planned 0", "This is the rule"]),
        ("applied", [
            "1,008 of 1,012 as planned", "4 left to HubSpot.", "Tripped approved 8 limit 0",
            "Approved by ada", "Not applied 0",
        ]),
        ("exported", ["1,000 subscribers read", "Target table consent.statuses", "Not read 0"]),
    ],
    ids=list(reports.ALL),
)  # fmt: skip
def test_a_page_says_what_became_of_the_run_and_what_to_do(name: str, expected: list[str]) -> None:
    text = text_of(*reports.ALL[name])
    assert [part for part in expected if part not in text] == []
    assert not re.search(r"\b(None|nan|Undefined)\b", text)


@pytest.mark.parametrize("missing", sorted(reports.COMPLETE))
def test_any_field_may_be_missing_or_of_another_kind(missing: str) -> None:
    odd: list[Any] = [
        None,
        "text",
        -1,
        1e300,
        10**400,
        float("nan"),
        [],
        [[]],
        {"x": "y"},
        True,
        [None, ["a", {}], [0, 1]],
    ]
    rest = {name: value for name, value in reports.COMPLETE.items() if name not in {missing, "history"}}
    for value in odd:
        assert "<main" in render({**rest, missing: value}, reports.LETTERS[:2], fragment=True, live=LIVE)
    assert "<main" in render(rest, fragment=True, live=LIVE)


@pytest.mark.parametrize("missing", sorted(reports.PLAN))
def test_any_field_of_a_plan_may_be_missing_or_of_another_kind(missing: str) -> None:
    rest = {name: value for name, value in reports.PLAN.items() if name != missing}
    inner: list[Any] = [{name: None} for name in ("id", "name", "limit", "examples", "actions", "at")]
    odd = [None, "text", -1, float("nan"), [], {"x": "y"}, {"actions": [], "at": 5}, True, [0, 1], inner]
    for value in odd:
        plan = {**rest, missing: value}
        page = render({**reports.PLANNED, "history": [], "plan": plan}, fragment=True)
        assert "1,012 of 100,000 would change" in page
        assert not re.search(r">\s*(None|nan)\b", page)
    assert "<main" in render({**reports.PLANNED, "history": [], "plan": rest}, fragment=True)


def test_a_report_without_a_plan_an_audit_or_a_target_shows_nothing_of_them() -> None:
    text = text_of(reports.COMPLETE).lower()
    assert [
        word for word in ("plan", "guards", "audit", "target", "approved", "left to") if word in text
    ] == []


def test_what_is_left_to_hubspot_is_no_error() -> None:
    page = render(reports.BY_RULE)
    assert 'class="pill ok"' in page
    assert 'class="o-rejected" x=' not in page
    assert 'class="bad"' not in page
    assert "Why rows were left to HubSpot" in page
    assert re.search(r'class="o-kept" x="[\d.]+%"', page)
    assert 'class="pill warn"' in render({**reports.BY_RULE, "rejected": 71})


@pytest.mark.parametrize(
    ("more", "headline"),
    [
        ({"kind": "plan"}, "12 of 1,000 would change"),
        ({"kind": "plan", "state": "running"}, "12 to change so far"),
        ({"kind": "plan", "state": "incomplete"}, "12 of 1,000 would change before the run ended"),
        ({"kind": "read", "changed": 0, "unchanged": 1000}, "1,000 subscribers read"),
        ({"kind": "read", "changed": 0, "unchanged": 998}, "998 of 1,000 subscribers read"),
        ({"kind": "read", "changed": 0, "unchanged": 400, "state": "running"}, "400 read so far"),
        ({"kind": "of a later version"}, "912 of 1,000 read"),
    ],
    ids=["plan", "plan-running", "plan-ended-early", "read", "some-read", "read-running", "unknown"],
)  # fmt: skip
def test_the_headline_is_true_of_runs_that_write_nothing(more: dict[str, Any], headline: str) -> None:
    report = {"state": "complete", "read": 1000, "changed": 12, "unchanged": 900, "done": "read", **more}
    assert f"<h1>{headline}</h1>" in render(report, fragment=True)


def test_an_approved_plan_is_not_stopped_by_its_guards() -> None:
    approved = {**reports.PLANNED, "plan": {**reports.PLAN, "approved_by": "ada"}}
    assert "guards tripped" in text_of(reports.PLANNED)
    assert "guards tripped" not in text_of(approved)


def test_a_guard_that_only_reports_stops_nothing() -> None:
    guards = [{**one, "report_only": one["name"] == "max_shrink"} for one in reports.PLAN["guards"]]
    text = text_of({**reports.PLANNED, "plan": {**reports.PLAN, "guards": guards}})
    assert "1 guard tripped" in text
    assert "Tripped stops nothing 35.4 %" in text
    assert text.index("Tripped stops nothing") < text.index("Passed")


def everywhere(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A report and letters that have a text in each of their fields, and in each name that may be theirs."""
    report = {name: text if isinstance(value, str) else value for name, value in reports.RUNNING.items()}
    report |= {
        "run": dict.fromkeys(reports.COMPLETE["run"], text),
        "reasons": {f"rejected: {text}": 2, text: 1, f"{text}: {text}": 1},
        "operations": {text: text},
        "source_names": [text, text],
        "portal": text,
        "connection": text,
        "incomplete_because": f"{text} {text}",
        "state": "incomplete",
        "dead_letters": text,
        "history": [[0, 0, 0, text, text], [1, 2, text, 1, 1], text, [text], [2, 3, 4, 5, 6]],
        "audit": text,
        "audit_head": text,
        "target": text,
        "plan": {
            **dict.fromkeys(("path", "checksum", "approved_by", "rows"), text),
            "actions": {text: 5},
            "subscriptions": [dict.fromkeys(("id", "name", "from", "to", "rows"), text)],
            "guards": [
                {**dict.fromkeys(reports.PLAN["guards"][0], text), "tripped": True, "examples": [text]}
            ],
            "before": {"actions": {text: 7}, "rows": text, "at": text},
        },
    }
    return report, [dict.fromkeys((*reports.MANY_LETTERS[0], "status", "subscription_id", "more"), text)]


@pytest.mark.parametrize("text", reports.EVIL, ids=["script", "attribute", "closing"])
@pytest.mark.parametrize(
    "live", [None, Live("bm9uY2U", task_state="<b>", note="<script>1</script>")], ids=["file", "tab"]
)
def test_text_from_elsewhere_stays_text(text: str, live: Live | None) -> None:
    report, letters = everywhere(text)
    plain = _Seen(render(*everywhere("text"), live=live and Live("bm9uY2U", task_state="x", note="y")))
    seen = _Seen(render(report, letters, live=live))
    # A text with "_" has more places where a line may break.
    assert [tag for tag, _ in seen.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attributes) for _, attributes in seen.tags] == [
        sorted(attributes) for _, attributes in plain.tags
    ]
    assert text.split(maxsplit=1)[0] in seen.text


@pytest.mark.parametrize(
    "address", [ADDRESS, "jane.doe%40example.com", "jane.doe\uff20example.com", f"Jane <{ADDRESS}>", f"s3://x/{ADDRESS}/y"]
)  # fmt: skip
def test_no_address_is_on_a_page(address: str) -> None:
    report, letters = everywhere(address)
    live = Live("bm9uY2U", task_state=address, note=address)
    for page in (
        render(report, letters),
        render(report, letters, live=live),
        render({**report, "state": address}),
    ):
        assert "jane.doe" not in page
        assert "example" not in page


def test_the_connection_in_an_airflow_path_is_left_out_rather_than_masked() -> None:
    text = text_of({**reports.COMPLETE, "dead_letters": "s3://aws_default@bucket/runs/dead_letters.jsonl"})
    assert "s3://bucket/runs/dead_letters.jsonl" in text


@pytest.mark.parametrize("name", ["million", "running", "one-subscriber"])
@pytest.mark.parametrize("live", [None, LIVE], ids=["file", "tab"])
def test_a_page_loads_nothing_and_needs_no_style_or_script_of_its_tags(name: str, live: Live | None) -> None:
    page = render(*reports.ALL[name], live=live)
    seen = _Seen(page)
    ids = [attributes["id"] for _, attributes in seen.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {name for _, attributes in seen.tags for name in attributes}
    assert not {
        each for each in used if each.startswith("on") or each in {"style", "src", "srcset", "xlink:href"}
    }
    assert {each["href"] for each in seen.of("a")} <= (
        {"download", "report.json"} if live else {"dead_letters.jsonl", "report.json"}
    )
    assert not re.search(r"https?://|@import|url\((?!#hatch\))|<\?xml|<!--", page)
    nonces = [each.get("nonce") for each in seen.of("style", "script")]
    assert nonces == ([LIVE.nonce] * 2 if live else [None])


def test_the_page_of_a_million_rows_is_small() -> None:
    page = render(reports.MILLION, reports.MANY_LETTERS)
    assert len(page.encode()) < 200_000
    text = _Seen(page).text
    assert text.count("ODD_ CATEGORY") == 47
    assert "2,953 more reasons, each of fewer rows. All are in report.json." in text
    assert len(_Seen(page).of("figure")) == 4


def test_the_page_of_the_longest_texts_is_under_300_kb() -> None:
    report, letters = everywhere("long text " * 1000)
    reasons = {f"rejected: {number} {'<&> ' * 1000}": 1 for number in range(3000)}
    report["plan"] = {
        name: one * 5000 if isinstance(one, list) else one for name, one in report["plan"].items()
    }
    report["plan"]["actions"] = {f"{number} {'<&> ' * 1000}": number for number in range(3000)}
    page = render({**report, "history": reports.MILLION["history"], "reasons": reasons}, letters * 1000)
    assert len(page.encode()) < 300_000


def test_rendering_takes_little_time() -> None:
    render(reports.MILLION, reports.MANY_LETTERS)  # loads the libraries
    taken = []
    for _ in range(3):
        begin = time.process_time()
        render(reports.MILLION, reports.MANY_LETTERS)
        taken.append(time.process_time() - begin)
    assert min(taken) < 0.25  # 0.05 s on an idle machine


@pytest.mark.parametrize(
    ("live", "state", "final", "word"),
    [
        (LIVE, "running", "false", "Running"),
        (LIVE, "complete", "true", "Complete"),
        (Live("x", task_state="up_for_retry", final=False), "incomplete", "false", "Ended early"),
        (Live("x", task_state="failed", final=True), "running", "true", "The task is over (failed)"),
    ],
    ids=["running", "complete", "between-tries", "killed"],
)
def test_a_tab_asks_until_nothing_will_change(live: Live, state: str, final: str, word: str) -> None:
    page = render({**reports.COMPLETE, "state": state}, live=live, fragment=True)
    seen = _Seen(page)
    assert page.strip().startswith("<main") and page.strip().endswith("</main>")
    assert seen.of("main")[0]["data-final"] == final
    assert word in seen.text


@pytest.mark.parametrize(("state", "warns"), [("running", True), ("waiting", False), ("complete", False)])
def test_a_file_that_a_killed_task_left_says_how_to_know_that(state: str, warns: bool) -> None:
    page = render({"state": state, "read": 5, "ended_at": "2026-11-26T03:00:00+00:00"})
    assert ("if this time stays for minutes, the task was killed" in page) == warns


def test_what_ended_a_run_early_stands_on_its_page_in_the_words_of_the_error() -> None:
    ended = {"state": "incomplete", "read": 0, "incomplete_because": "ValidationError"}
    assert "max_changes is 10" in render({**ended, "error": "max_changes is 10"})
    assert "ValidationError" in render(ended)
    sentence = {**ended, "incomplete_because": "the day is used up", "error": "the day is used up"}
    assert render(sentence).lower().count("the day is used up") == 1


def test_the_fragment_is_the_main_part_of_the_page() -> None:
    whole = render(reports.RUNNING, reports.LETTERS, live=LIVE)
    assert render(reports.RUNNING, reports.LETTERS, live=LIVE, fragment=True).strip() in whole


def test_a_tab_without_links_has_none() -> None:
    seen = _Seen(render(reports.COMPLETE, live=Live("x", links=False, note="The store s3 cannot be read.")))
    assert seen.of("a") == []
    assert "The store s3 cannot be read." in seen.text


@pytest.mark.parametrize(
    ("history", "charts"),
    [
        ([], 0),
        ([[0, 0, 0, None, None]], 0),
        ([[0, 0, 0, None, None], [0, 5, 1, None, None]], 0),
        ([[0, 0, 0, None, None], [5, 500, 5, None, None]], 2),
        ([[0, 0, 0, 100, 1], [5, 500, 5, 95, 5], [9, 0, 6, 94, 5]], 4),
        ([[0.0, 0, 0, 0, 0], [9e6, 0, 0, 0, 0]], 2),  # of what has a limit
    ],
    ids=["empty", "one", "same-time", "no-budget", "begun-again", "zeros"],
)
def test_charts_are_drawn_of_what_is_known(history: list[Any], charts: int) -> None:
    page = render({**reports.COMPLETE, "history": history})
    assert len(_Seen(page).of("figure")) == charts
    assert not re.search(r"[MLhv ]-?(nan|inf|\d{5,})", "".join(re.findall(r' d="([^"]*)"', page)))


def _palette() -> dict[str, tuple[str, str]]:
    found = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", render(None))
    return {name: (light, dark) for name, light, dark in found}


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_that_wcag_aa_asks_for(theme: int) -> None:
    colours = {name: pair[theme] for name, pair in _palette().items()}
    airflow = ("#ffffff", "#111111")[theme]  # behind the tab
    words = dict.fromkeys(("text", "soft", "link", "ok", "info", "warn", "bad"), 4.5)
    shapes = dict.fromkeys(
        ("changed", "unchanged", "kept", "duplicate", "invalid", "rejected", "unconfirmed"), 3.0
    )
    low = [
        (name, behind, round(contrast, 2))
        for name, least in (words | shapes).items()
        for behind in (colours["card"], colours["page"], airflow)
        if (contrast := _contrast(colours[name], behind)) < least
    ]
    assert low == []


def test_a_report_that_was_read_from_its_file_renders_alike() -> None:
    again = json.loads(json.dumps(reports.MILLION))
    assert render(again, reports.MANY_LETTERS) == render(reports.MILLION, reports.MANY_LETTERS)


def test_a_task_that_failed_says_why_in_its_own_words() -> None:
    why = "no column is called 'E-Mail'. There are: 'Email'"
    run = render({"state": "incomplete", "read": 0, "incomplete_because": "SourceError", "because": why})
    one = render({"state": "incomplete", "because": why})
    for text in (run, one):
        assert escape(why).replace("&#x27;", "&#39;") in text
        assert "SourceError" not in text
    assert "<h1>The task failed</h1>" in one
    assert "resumes" not in one  # a task about one subscriber has nothing to resume


def test_a_task_about_one_subscriber_says_what_it_changed_where_that_is_known() -> None:
    assert "<h1>1 subscriber changed</h1>" in render({"state": "complete", "outcome": "changed"})
    done = {"state": "complete", "outcome": "changed", "done": "opted out"}
    assert "<h1>1 subscriber opted out</h1>" in render(done)


def test_a_run_without_rows_has_no_empty_bar() -> None:
    assert "What became of" not in render({"state": "running", "read": 0})
    assert "What became of" in render({"state": "running", "read": 1, "changed": 1})


def test_the_words_of_a_chart_are_exact() -> None:
    history = [[0, 0, 0, 999_960, 0], [9, 9, 33, 999_927, 3]]
    (chart,) = [one for one in charts_of(history, daily=1_000_000) if one.title == "Requests left of the day"]
    assert chart.note == "999,927 left of 1,000,000"
