"""What goes wrong, scripted or by chance.

A rule is ``{"match": {...}, "times": 1, "fault": {...}}``. Every member of ``match`` must fit:
``method``, ``path_contains``, ``endpoint`` (a name of :mod:`routes`), ``version``, ``token`` (its name),
``body_contains`` and ``nth`` (the number, or list of numbers, of the matching request, from 1). ``times``
says how often the rule is used, ``null`` for ever; one with ``nth`` is used for each of them. A struck request
that is not carried out changes nothing and costs nothing of the limits.

================ ============================================================================================
``kind``         what happens; other members, with their defaults
================ ============================================================================================
``latency``      the answer waits: ``ms`` (a number or ``[from, to]``); other faults may follow
``status``       an error in HubSpot's shape: ``status`` (500), ``category``, ``message``, ``retry_after``
``burst``        429 of the ten-second limit: ``retry_after``
``daily``        429 of the daily limit: ``retry_after``
``cloudflare``   Cloudflare's HTML page: ``status`` (502)
``empty``        no body: ``status`` (200)
``text``         a body that is not JSON: ``status`` (200), ``text``
``answer``       any answer: ``status`` (200), ``json``, ``headers``
``redirect``     ``location``, ``status`` (302)
``drop``         the connection ends without an answer: ``applied`` (false), whether the request was carried out
``truncate``     the request is carried out, and the connection ends in the middle of the answer's body
``huge``         a streamed body of ``bytes`` (1 GiB): ``status`` (200)
``fields``       the true answer, without the members in ``missing`` and with those in ``null`` set to null
================ ============================================================================================
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_hubprefs.simulator.bodies import (
    Answer,
    HubSpotError,
    burst_limit,
    cloudflare,
    daily_limit,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_hubprefs.simulator.recorder import Recorded

Fault = dict[str, Any]

KINDS: dict[str, frozenset[str]] = {
    "latency": frozenset({"ms"}),
    "status": frozenset({"status", "category", "message", "retry_after"}),
    "burst": frozenset({"retry_after"}),
    "daily": frozenset({"retry_after"}),
    "cloudflare": frozenset({"status"}),
    "empty": frozenset({"status"}),
    "text": frozenset({"status", "text"}),
    "answer": frozenset({"status", "json", "headers"}),
    "redirect": frozenset({"status", "location"}),
    "drop": frozenset({"applied"}),
    "truncate": frozenset(),
    "huge": frozenset({"status", "bytes"}),
    "fields": frozenset({"missing", "null"}),
}
MATCHES = frozenset({"method", "path_contains", "endpoint", "version", "token", "body_contains", "nth"})

_CATEGORIES = {423: "LOCKED", 477: "MIGRATION_IN_PROGRESS"}
_MESSAGES = {
    423: "The resource is locked",
    477: "This account is being migrated between data centers",
    500: "internal error",
    502: "Bad gateway",
    503: "Service temporarily unavailable",
    504: "Gateway timeout",
}


class FaultError(ValueError):
    """A rule that makes no sense; the text says what was expected."""


@dataclass(slots=True)
class Rule:
    """A fault, when it strikes, and how often it did."""

    match: dict[str, Any]
    fault: Fault
    times: int | None
    seen: int = 0
    used: int = 0

    def strikes(self, request: Recorded) -> bool:
        """Count a request and tell whether it is struck."""
        match = self.match
        fits = (
            match.get("method", request.method) == request.method
            and match.get("path_contains", "") in request.path
            and match.get("endpoint", request.endpoint) == request.endpoint
            and match.get("version", request.version) == request.version
            and match.get("token", request.token) == request.token
            and match.get("body_contains", "") in request.body
        )
        if not fits:
            return False
        self.seen += 1
        nth = match.get("nth")
        due = nth is None or (self.seen in nth if isinstance(nth, list) else self.seen == nth)
        if not due or (self.times is not None and self.used >= self.times):
            return False
        self.used += 1
        return True


class Faults:
    """The scripted rules, in the order they were added, and those of chance.

    :param rate: the share of requests that a random fault strikes.
    :param kinds: what may strike then: a status such as ``"503"``, a kind of the table above, or
        ``drop-applied``, a connection that ends after the request was carried out.
    :param latency_ms: how long every answer takes at least.
    """

    def __init__(
        self, *, seed: int = 0, rate: float = 0.0, kinds: Iterable[str] = (), latency_ms: float = 0.0
    ) -> None:
        if not 0 <= rate <= 1:
            raise FaultError(f"the fault rate is a share from 0 to 1, not {rate}")
        self._random = random.Random(seed)
        self._rate = rate
        self._latency_ms = latency_ms
        self._kinds = [_by_name(kind) for kind in kinds] or [_by_name("503")]
        self._lock = threading.Lock()
        self.rules: list[Rule] = []

    def add(self, rule: Mapping[str, Any]) -> None:
        """Add a rule.

        :raises FaultError: when it has an unknown kind or member.
        """
        unknown = sorted(set(rule) - {"match", "times", "fault"})
        if unknown:
            raise FaultError(f"a rule has match, times and fault, not {unknown[0]!r}")
        match, fault = dict(rule.get("match") or {}), dict(rule.get("fault") or {})
        kind = fault.get("kind")
        if kind not in KINDS:
            raise FaultError(f"fault.kind: expected one of {', '.join(KINDS)}, found {kind!r}")
        for name, given, known in (
            ("match", match, MATCHES),
            (f"fault {kind}", fault, KINDS[kind] | {"kind"}),
        ):
            unknown = sorted(set(given) - known)
            if unknown:
                raise FaultError(
                    f"{name}: unknown member {unknown[0]!r}; known are {', '.join(sorted(known))}"
                )
        times = rule.get("times", None if "nth" in match else 1)
        if times is not None and (not isinstance(times, int) or times < 1):
            raise FaultError(f"times: expected a whole number from 1, or null for ever, found {times!r}")
        with self._lock:
            self.rules.append(Rule(match, fault, times))

    def clear(self) -> None:
        """Forget every scripted rule; those of chance stay."""
        with self._lock:
            self.rules.clear()

    def strike(self, request: Recorded) -> tuple[float, Fault | None]:
        """Decide what happens to a request: the seconds its answer waits, and the fault, if any."""
        wait = self._latency_ms
        fault: Fault | None = None
        with self._lock:
            for rule in self.rules:
                if rule.fault["kind"] == "latency":
                    wait += self._delay(rule.fault.get("ms", 1000)) if rule.strikes(request) else 0
                elif fault is None and rule.strikes(request):
                    fault = rule.fault
            if fault is None and self._rate and self._random.random() < self._rate:
                fault = self._random.choice(self._kinds)
                if fault["kind"] == "latency":
                    wait, fault = wait + self._delay(fault.get("ms", 1000)), None
        return wait / 1000, fault

    def _delay(self, milliseconds: float | list[float]) -> float:
        return self._random.uniform(*milliseconds) if isinstance(milliseconds, list) else milliseconds


def _by_name(name: str) -> Fault:
    name = name.strip()
    if name == "429":
        return {"kind": "burst"}
    if name.isdigit() and 400 <= int(name) < 600:
        return {"kind": "status", "status": int(name)}
    if name == "drop-applied":
        return {"kind": "drop", "applied": True}
    if name not in KINDS:
        raise FaultError(f"fault kind {name!r}: expected an HTTP status or one of {', '.join(KINDS)}")
    return {"kind": name}


def applies(fault: Fault) -> bool:
    """Tell whether the request is carried out although something goes wrong."""
    return fault["kind"] in ("truncate", "fields") or bool(fault.get("applied"))


def answer(fault: Fault, *, correlation_id: str, portal_id: int) -> Answer | None:
    """Return the answer a fault makes up; ``None`` for those that need the connection or the true answer."""
    kind = fault["kind"]
    headers = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
    if kind == "burst":
        return Answer(429, burst_limit(correlation_id, portal_id, "private-apps"), headers)
    if kind == "daily":
        return Answer(429, daily_limit(correlation_id), headers)
    if kind == "status":
        return _error(fault, headers).answer(correlation_id)
    if kind == "cloudflare":
        return cloudflare(fault.get("status", 502), correlation_id.replace("-", "")[:16])
    if kind == "redirect":
        return Answer(fault.get("status", 302), b"", {"Location": fault.get("location", "/")})
    made: dict[str, Answer] = {
        "empty": Answer(fault.get("status", 200), b""),
        "text": Answer(fault.get("status", 200), str(fault.get("text", "This is not JSON")).encode()),
        "answer": Answer(fault.get("status", 200), fault.get("json"), dict(fault.get("headers", {}))),
    }
    return made.get(kind)


def _error(fault: Fault, headers: dict[str, str]) -> HubSpotError:
    status = fault.get("status", 500)
    if status == 477 and not headers:
        headers = {"Retry-After": "5"}  # documented for this status, unlike for any other
    category = fault.get("category", _CATEGORIES.get(status, "INTERNAL_ERROR"))
    message = fault.get("message", _MESSAGES.get(status, f"simulated error {status}"))
    return HubSpotError(status, category, message, headers=headers)


def change_fields(fault: Fault, body: Any) -> Any:
    """Return a body without the members a ``fields`` fault leaves out, wherever they are."""
    missing, null = fault.get("missing", ()), fault.get("null", ())
    if isinstance(body, list):
        return [change_fields(fault, each) for each in body]
    if isinstance(body, dict):
        return {
            name: None if name in null else change_fields(fault, value)
            for name, value in body.items()
            if name not in missing
        }
    return body
