"""Renders the report of a run as one HTML page, for a file and for a tab in Airflow's UI."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_hubprefs.bulk.page.charts import charts_of, number_in
from airflow_provider_hubprefs.bulk.page.letters import clean, masked
from airflow_provider_hubprefs.bulk.page.plan import plan_of
from airflow_provider_hubprefs.bulk.page.reasons import Advice, advice_on, advice_on_end
from airflow_provider_hubprefs.bulk.report.outcome import APPLIED, HUBSPOT_WINS, NOT_APPLIED, OUTCOMES
from airflow_provider_hubprefs.bulk.report.words import achieved, without_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Template

    from airflow_provider_hubprefs.bulk.page.plan import ShownGuard

_HERE = Path(__file__).parent
_MOST_REASONS, _MOST_LETTERS, _MOST_SOURCES = 50, 100, 20
_NARROWEST = 1.2
"""Per cent of the bar that an outcome takes at least, so that a few rows of a million are seen."""


class Wording(NamedTuple):
    """How a run of a kind calls what becomes of its rows.

    :param changed: its label and its meaning; empty: no run of this kind has such rows.
    :param unchanged: its label and its meaning.
    :param rest: what the others were not.
    :param became: what its bar shows of the rows.
    """

    changed: tuple[str, str]
    unchanged: tuple[str, str]
    rest: str
    became: str = "What became of"


_WORDING = {
    "write": Wording(("Changed", "{past} by this run"), ("Unchanged", "Already as wanted"), "applied"),
    "plan": Wording(
        ("To change", "Applying the plan writes these"),
        ("As wanted", "HubSpot has it so already"),
        "planned",
        "What would become of",
    ),
    "read": Wording(("", ""), ("Read", "HubSpot has answered"), "read"),
}


@dataclass(frozen=True)
class Live:
    """How a page that is a tab of Airflow's UI differs from a file.

    It asks for ``fragment``, and links to ``download`` and ``report.json``, all beside its own address.

    :param nonce: of the Content-Security-Policy; every style and script has it.
    :param task_state: Airflow's state of the task instance.
    :param final: whether nothing will change any more; None: that is so when the report says how the run ended.
    :param note: what the page cannot show and why, in a sentence; for instance a store that cannot be read.
    :param links: whether dead letters and report can be had there.
    """

    nonce: str
    task_state: str | None = None
    final: bool | None = None
    note: str | None = None
    links: bool = True


def render(
    report: Mapping[str, Any] | None,
    letters: Sequence[Mapping[str, Any]] = (),
    *,
    live: Live | None = None,
    fragment: bool = False,
) -> str:
    """Return the page of a run, of a task that sets one subscriber's preferences, or of one without a report yet.

    :param report: the content of ``report.json``; any field may be missing.
    :param letters: the first dead letters, see :func:`.letters.first_letters`; they are masked here, if they are not.
    :param live: for Airflow's UI; None: a file of its own.
    :param fragment: its ``<main>`` alone.
    """
    return template(_HERE / "page.html").render(
        page=_Page(report or {}, letters, live), live=live, fragment=fragment
    )


@cache
def template(path: Path) -> Template:
    """Return a template, which may include what lies beside this module: one style for all pages.

    :param path: of its file.
    """
    import jinja2  # noqa: PLC0415 - only runs that keep a report need it
    from markupsafe import Markup  # noqa: PLC0415

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([path.parent, _HERE]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        # Whatever the template shows passes here first: no address gets by.
        finalize=lambda value: value if isinstance(value, Markup | int | float) else clean(value, most=2000),
    )
    environment.filters.update(number=number, counted=counted, seconds=seconds, when=when)
    return environment.get_template(path.name)


def number(value: float) -> str:
    """``1,234`` or ``12.5``."""
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:,.1f}"


def counted(count: float, one: str, many: str = "") -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{number(count)} {one if count == 1 else many or f'{one}s'}"


def seconds(value: float) -> str:
    """A duration for people: ``52 s``, ``4 min 12 s``, ``3 h 5 min``."""
    if value < 10:
        return f"{number(round(value, 1))} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{amount:,} {unit}" for amount, unit in parts if amount)


def when(value: object) -> str:
    """``26 Nov 2026, 01:37:31 UTC``; text that is no time stays as it is."""
    try:
        time = datetime.fromisoformat(str(value))
        utc = time.astimezone(UTC) if time.tzinfo else time
    except (ValueError, OverflowError):
        return str(value)
    return f"{utc.day} {utc:%b %Y, %H:%M:%S} UTC"


class _Page:
    """What the template shows, in words and numbers."""

    def __init__(
        self, report: Mapping[str, Any], letters: Sequence[Mapping[str, Any]], live: Live | None
    ) -> None:
        self.report = report
        self.run, self.budget = self.mapping("run"), self.mapping("budget_after")
        self.read, self.outcome = self.number("read"), self.text("outcome")
        self.counts: dict[str, float] = {name: max(0, self.number(name) or 0) for name in OUTCOMES}
        if self.read is None and self.outcome in OUTCOMES:  # of a task about one subscriber
            self.counts[self.outcome] = 1
        kind = self.text("kind")
        self.kind = kind if kind in _WORDING else "write"
        self.words, self.plan = _WORDING[self.kind], plan_of(report)
        won = (number_in(self.mapping("reasons").get(f"rejected: {name}")) or 0 for name in HUBSPOT_WINS)
        self.counts["kept"] = min(max(0, sum(won)), self.counts["rejected"])
        self.counts["rejected"] -= self.counts["kept"]
        self.applied = sum(self.counts[name] for name in APPLIED)
        reported = self.text("state") or self._state_of_schema_1()
        over = reported in {"complete", "incomplete"}
        self.final = over if live is None or live.final is None else live.final
        self.state = "stopped" if self.final and reported in {"running", "waiting"} else reported
        self.going = self.state in {"running", "waiting"}
        self.pending = self.counts["unconfirmed"] if self.going else 0
        self.failed = sum(self.counts[name] for name in NOT_APPLIED) - self.pending
        share = self.number("share")
        self.share = share if share and 1e-6 < share < 1 and self.state != "complete" else None
        self.task_state = live.task_state if live else None
        names = report.get("source_names")
        self.sources = (
            [clean(one) for one in names[:_MOST_SOURCES]] if isinstance(names, list | tuple) else []
        )
        self.more_sources = max(0, (self.number("source_files") or 0) - len(self.sources))
        self.letters = [masked(one) for one in letters[:_MOST_LETTERS]]
        self.charts = charts_of(
            report.get("history"),
            daily=self.number("daily", self.budget),
            burst=self.number("burst", self.budget),
        )

    def _state_of_schema_1(self) -> str:
        if self.report.get("complete"):
            return "complete"
        if self.report.get("incomplete_because"):
            return "incomplete"
        return "running" if "complete" in self.report else ""

    def text(self, name: str) -> str | None:
        """A field as text; None: it is missing or empty."""
        value = self.report.get(name)
        return None if value is None or value == "" else clean(value, most=1000)

    def number(self, name: str, among: Mapping[str, Any] | None = None) -> float | None:
        """A field as a number; None: it is missing, or none."""
        return number_in((self.report if among is None else among).get(name))

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A field that has fields; empty where it is missing."""
        value = self.report.get(name)
        return value if isinstance(value, dict) else {}

    @property
    def past(self) -> str:
        """What the run does to a row, in the past tense."""
        return self.text("done") or "applied"

    @property
    def stopped_by(self) -> list[ShownGuard]:
        """Guards that stop the plan that this run made."""
        return self.plan.tripped if self.plan and self.kind == "plan" and not self.plan.approved_by else []

    @property
    def because(self) -> str | None:
        """Why it ended early: as the task said it, which only a tab knows, or the name of the error's class."""
        return self.text("because") or self.text("incomplete_because")

    @property
    def headline(self) -> str:
        """The run in one sentence."""
        if self.read is None:
            return self._headline_of_one
        said: dict[str, Any] = {"kind": self.kind, "done": self.text("done"), "read": round(self.read)}
        said |= {name: round(self.counts[name]) for name in APPLIED}
        if self.state == "running":
            return achieved(said, so_far=True)
        if self.read == 0:
            skipped = self.number("skipped")
            return f"{without_rows(self.kind, self.plan)}{f', {number(skipped)} left out by where' if skipped else ''}"
        early = " before the run ended" if self.state in {"incomplete", "stopped"} else ""
        return f"{achieved(said)}{early}"

    @property
    def _headline_of_one(self) -> str:
        states = {
            "": "No report yet",
            "running": "At work",
            "waiting": "HubSpot is at work on it",
            "complete": "Done",
            "incomplete": "The task failed",
        }
        outcomes = {
            "changed": f"1 subscriber {self.text('done') or 'changed'}",
            "unchanged": "Nothing to change: it was so already",
            "unconfirmed": "HubSpot has not confirmed it",
            "rejected": "Not applied",
            "invalid": "Not applied",
        }
        said = states.get(self.state, "Ended early")
        return said if self.going else outcomes.get(self.outcome or "", said)

    @property
    def status(self) -> tuple[str, str]:
        """Its tone (ok, info, warn, bad) and its words."""
        if self.state == "incomplete" and self.read is None:
            return "bad", "Failed"
        if self.state == "complete" and self.counts["unconfirmed"]:
            return "warn", f"Complete, {number(self.counts['unconfirmed'])} unconfirmed"
        if self.state == "complete" and self.stopped_by:
            return "warn", f"Complete, {counted(len(self.stopped_by), 'guard')} tripped"
        if self.state == "complete" and self.failed:
            return "warn", f"Complete, {number(self.failed)} not {self.words.rest}"
        return {
            "": ("info", "No report yet"),
            "running": ("info", "Running"),
            "waiting": ("info", "Waiting for HubSpot"),
            "complete": ("ok", "Complete"),
            "failed": ("bad", "Failed"),
            "incomplete": ("bad", "Ended early"),
            "stopped": ("bad", "Ended early"),
        }.get(self.state, ("info", self.state.capitalize()))

    @property
    def advice(self) -> Advice | None:
        """What to know, and to do next, where there is something."""
        unconfirmed = self.counts["unconfirmed"]
        if self.state == "stopped":
            ended = f"The task is over ({self.task_state})" if self.task_state else "The task is over"
            return Advice(f"{ended}, and its last report does not say how.", advice_on_end("StoppedError").do)
        if self.state == "incomplete":
            if self.read is None and self.because and " " in self.because:
                return Advice(self.because, "Correct what it names, and clear the task.")
            return advice_on_end(self.text("incomplete_because"))
        if self.state == "waiting":
            means = "All rows are sent" if self.read else "The task waits"
            return Advice(f"{means}; HubSpot has not finished yet.", "Nothing, for now.")
        if self.state == "complete" and self.stopped_by:
            why = ", ".join(f"{one.means or one.name} ({one.found}, {one.limit})" for one in self.stopped_by)
            means = f"{counted(len(self.stopped_by), 'guard stops', 'guards stop')} this plan: {why}."
            return Advice(
                means, "Look at the guards below. The plan is not applied before a person approves it."
            )
        if self.state != "complete" or not self.read or not self.failed:
            return None
        if unconfirmed:
            means = f"{counted(unconfirmed, 'row is', 'rows are')} neither confirmed nor refused by HubSpot."
            return Advice(means, "Clear the task: it asks HubSpot about them again.")
        means = f"{counted(self.failed, 'row was', 'rows were')} not {self.words.rest}; all others are done."
        look = "Look at the reasons below." if self.reasons else "The task's log says more."
        again = ' The dead letters can be sent again, as a source with email_column="subscriber".'
        return Advice(means, f"{look}{again if self.text('dead_letters') else ''}")

    @property
    def said(self) -> str | None:
        """What ended the run early, in the words of its error."""
        error = self.text("error") or self.because or "No reason was given"
        if self.state != "incomplete" or (self.advice and self.advice.means.lower() == error.lower()):
            return None
        return error

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """The outcomes, and what is not read yet: name, rows, their share, and their place in the bar."""
        kept = ["kept"] if self.counts["kept"] else []
        names = [*APPLIED, *kept, "duplicate", "invalid", "rejected", "unconfirmed"]
        if not self.words.changed[0] and not self.counts["changed"]:
            names.remove("changed")
        found: list[dict[str, Any]] = [{"name": name, "rows": self.counts[name]} for name in names]
        if self.share and self.read:
            found.append({"name": "unread", "rows": round(self.read / self.share - self.read)})
        total = sum(one["rows"] for one in found) or 1
        widths = [max(_NARROWEST, 100 * one["rows"] / total) if one["rows"] else 0.0 for one in found]
        begin, scale = 0.0, 100 / (sum(widths) or 1)
        for one, width in zip(found, widths, strict=True):
            one["share"] = _percent(one["rows"] / total)
            one["begin"], one["width"] = round(begin * scale, 2), round(width * scale, 2)
            begin += width
        return found

    @property
    def reasons(self) -> list[dict[str, Any]]:
        """Why rows were not applied, most frequent first; the last of many sums up the rest."""
        counts = [(str(name), number_in(value) or 0) for name, value in self.mapping("reasons").items()]
        if not counts and (category := self.text("category")):
            counts = [(f"{self.outcome}: {category}", 1)]
        counts.sort(key=lambda pair: -pair[1])
        found: list[dict[str, Any]] = []
        for name, count in counts[:_MOST_REASONS]:
            outcome, _, category = name.partition(": ")
            if outcome not in OUTCOMES or not category:
                outcome, category = "", name
            if outcome == "rejected" and category in HUBSPOT_WINS:
                outcome = "kept"
            advice = advice_on(category, pending=self.going and outcome == "unconfirmed")
            category = clean(category, most=120)
            found.append({"rows": count, "outcome": outcome, "category": category, "advice": advice})
        if rest := counts[_MOST_REASONS:]:
            means = f"{counted(len(rest), 'more reason')}, each of fewer rows."
            advice, total = Advice(means, "All are in report.json."), sum(count for _, count in rest)
            found.append({"rows": total, "outcome": "", "category": "all others", "advice": advice})
        return found


def _percent(share: float) -> str:
    if share in {0, 1}:
        return f"{share:.0%}"
    return f"{share:.1%}" if 0.001 <= share <= 0.999 else "< 0.1%" if share < 0.001 else "> 99.9%"
