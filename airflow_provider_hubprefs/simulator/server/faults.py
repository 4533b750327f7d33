"""Scripted faults: what goes wrong, and for which requests.

A rule is ``{"match": {...}, "times": 1, "fault": {...}}``. A struck request that is not carried out changes nothing
and does not count against the limits.

================ ============================================================================================
``kind``         what happens; its other members, with their defaults
================ ============================================================================================
``latency``      the answer waits: ``ms`` (1000, a number or ``[from, to]``); other faults may follow
``status``       an error in HubSpot's shape: ``status`` (500), ``category``, ``message``, ``retry_after``
``burst``        429 of the ten-second limit: ``retry_after``
``daily``        429 of the daily limit: ``retry_after``
``cloudflare``   Cloudflare's HTML page: ``status`` (502)
``empty``        a 200 without a body
``text``         a 200 with a body that is not JSON: ``text``
``answer``       any answer: ``status`` (200), ``json``, ``headers``
``drop``         the connection ends without an answer: ``applied`` (false), whether the request was carried out
``truncate``     the request is carried out, and the connection ends in the middle of the answer's body
``fields``       the true answer, without the members in ``missing`` and with those in ``null`` set to null
``edit``         the true answer, sloppy: its own members as in ``json`` ({}); of its rows, also of those within rows,
                 those with all values of ``of`` ({}: every row) as in ``row`` ({}), or left out (``drop``, false)
``race``         ``addresses`` opt out by the link in a mail, then the request is carried out
================ ============================================================================================
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airflow_provider_hubprefs.simulator.answers import ApiAnswer, ApiError, cloudflare, limit_reached

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_hubprefs.simulator.server.recorder import RecordedRequest

Kind = Literal[
    "latency", "status", "burst", "daily", "cloudflare", "empty", "text", "answer", "drop", "truncate", "fields",
    "edit", "race",
]  # fmt: skip

_CATEGORIES = {423: "LOCKED", 477: "MIGRATION_IN_PROGRESS"}


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What happens; the module's table says which members a kind has."""

    kind: Kind
    status: int | None = None
    category: str | None = None
    message: str | None = None
    retry_after: float | None = None
    ms: float | tuple[float, float] = 1000.0
    text: str = "This is not JSON"
    json: Any = None
    headers: dict[str, str] = {}
    applied: bool = False
    missing: list[str] = []
    null: list[str] = []
    of: dict[str, Any] = {}
    row: dict[str, Any] = {}
    drop: bool = False
    addresses: list[str] = []

    @property
    def carried_out(self) -> bool:
        """Whether the request is carried out all the same."""
        return self.applied or self.kind in ("truncate", "fields", "edit", "race")

    @property
    def cuts(self) -> bool:
        """Whether the connection ends."""
        return self.kind in ("drop", "truncate")

    def answer(self, true: ApiAnswer, correlation_id: str) -> ApiAnswer:
        """Return what is answered instead of the true answer, or of a part of it."""
        match self.kind:
            case "burst" | "daily":
                made = limit_reached(self.kind, correlation_id)
            case "status":
                made = self._error().answer(correlation_id)
            case "cloudflare":
                made = cloudflare(self.status or 502, correlation_id)
            case "empty":
                made = ApiAnswer(200)
            case "text":
                made = ApiAnswer(200, self.text.encode())
            case "answer":
                made = ApiAnswer(self.status or 200, self.json, dict(self.headers))
            case "edit":
                if isinstance(true.body, dict):
                    rows = self._edited(true.body.get("results") or [])
                    true.body = {**true.body, "results": rows, **(self.json or {})}
                return true
            case _:
                true.body = self._changed(true.body)
                return true
        if self.retry_after is not None:
            made.headers["Retry-After"] = f"{self.retry_after:g}"
        return made

    def _edited(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return rows, changed or left out; rows within rows first."""
        edited = []
        for row in rows:
            mine = self.of.items() <= row.items()
            if mine and self.drop:
                continue
            lists = {name: self._edited(value) for name, value in row.items() if isinstance(value, list)}
            edited.append({**row, **lists, **(self.row if mine else {})})
        return edited

    def _changed(self, body: Any) -> Any:
        """Return a body without the members that ``fields`` leaves out, wherever they are."""
        if isinstance(body, list):
            return [self._changed(each) for each in body]
        if isinstance(body, dict):
            return {
                name: None if name in self.null else self._changed(value)
                for name, value in body.items()
                if name not in self.missing
            }
        return body

    def _error(self) -> ApiError:
        status = self.status or 500
        # Documented for this status, unlike for any other.
        headers = {"Retry-After": "5"} if status == 477 else {}
        category = self.category or _CATEGORIES.get(status, "INTERNAL_ERROR")
        return ApiError(status, category, self.message or f"simulated error {status}", headers=headers)


class FaultMatch(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which requests a rule is for: every member that is given must fit.

    :param endpoint: the name of a route; ``token`` the name of a token.
    :param nth: the number, or numbers, of the matching request, from 1.
    """

    method: str | None = None
    path_contains: str = ""
    endpoint: str | None = None
    token: str | None = None
    body_contains: str = ""
    nth: int | list[int] | None = None

    def fits(self, request: RecordedRequest) -> bool:
        """Return whether a request is one of them; ``nth`` is not looked at."""
        return (
            self.method in (None, request.method)
            and self.path_contains in request.path
            and self.endpoint in (None, request.endpoint)
            and self.token in (None, request.token)
            and self.body_contains in request.body
        )


class FaultRule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A fault, the requests it is for, and how often it is used.

    :param times: ``None``: for ever. Left out, it is 1, or for ever where ``match`` has ``nth``.
    :ivar seen: how many requests fitted; ``used`` how many were struck.
    """

    fault: Fault
    match: FaultMatch = msgspec.field(default_factory=FaultMatch)
    times: int | msgspec.UnsetType | None = msgspec.UNSET
    seen: int = 0
    used: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.times, msgspec.UnsetType):
            self.times = 1 if self.match.nth is None else None

    def strikes(self, request: RecordedRequest) -> bool:
        """Count a request; return whether it is struck."""
        if not self.match.fits(request):
            return False
        self.seen += 1
        nth = self.match.nth
        due = nth is None or self.seen in (nth if isinstance(nth, list) else [nth])
        if not due or (isinstance(self.times, int) and self.used >= self.times):
            return False
        self.used += 1
        return True


class FaultScript:
    """The rules, in the order they were added.

    :param latency_ms: how long every answer takes at least, in milliseconds.
    """

    def __init__(self, *, seed: int, latency_ms: float) -> None:
        self._random = random.Random(seed)
        self._latency_ms = latency_ms
        self._lock = threading.Lock()
        self.rules: list[FaultRule] = []

    def add(self, rule: Mapping[str, Any]) -> None:
        """Add a rule.

        :raises msgspec.ValidationError: an unknown kind or member, or a value of the wrong type.
        """
        made = msgspec.convert(rule, FaultRule)
        with self._lock:
            self.rules.append(made)

    def clear(self) -> None:
        """Forget every rule."""
        with self._lock:
            self.rules.clear()

    def strike(self, request: RecordedRequest) -> tuple[float, Fault | None]:
        """Decide what happens to a request: the seconds its answer waits, and the fault, if any."""
        wait = self._latency_ms
        fault: Fault | None = None
        with self._lock:
            for rule in self.rules:
                if rule.fault.kind == "latency":
                    wait += self._delay(rule.fault.ms) if rule.strikes(request) else 0
                elif fault is None and rule.strikes(request):
                    fault = rule.fault
        return wait / 1000, fault

    def _delay(self, milliseconds: float | tuple[float, float]) -> float:
        return self._random.uniform(*milliseconds) if isinstance(milliseconds, tuple) else milliseconds
