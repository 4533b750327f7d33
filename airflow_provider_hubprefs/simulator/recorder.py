"""Every request received, in a bounded ring, and counts of all of them."""

from __future__ import annotations

import json
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Recorded:
    """One request as it arrived, and the status it was answered with.

    :ivar headers: with lower-case names; ``authorization`` holds the token's name in its place.
    :ivar status: 0 when the connection was dropped.
    :ivar fault: the kind of fault that struck it, or an empty string.
    """

    number: int
    time: str
    method: str
    path: str
    query: str
    headers: dict[str, str] = field(repr=False)
    body: str = field(repr=False)
    token: str
    endpoint: str
    version: str
    status: int = 0
    fault: str = ""

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)

    def as_dict(self) -> dict[str, Any]:
        """Return the request as the control endpoint shows it."""
        return asdict(self)


class Recorder:
    """The last requests, bounded in number and in bytes, and counts that are not.

    :param maximum: how many requests are kept.
    :param maximum_bytes: how many bytes of bodies are kept together.
    """

    def __init__(self, *, maximum: int = 10_000, maximum_bytes: int = 32 * 1024 * 1024) -> None:
        self._maximum = maximum
        self._maximum_bytes = maximum_bytes
        self._bytes = 0
        self.kept: deque[Recorded] = deque()
        self.total = 0
        self.answers: Counter[tuple[str, int]] = Counter()

    def add(self, request: Recorded) -> None:
        """Keep a request, and let go of the oldest ones there is no room for."""
        self.total += 1
        self.kept.append(request)
        self._bytes += len(request.body)
        while self.kept and (len(self.kept) > self._maximum or self._bytes > self._maximum_bytes):
            self._bytes -= len(self.kept.popleft().body)

    def answered(self, request: Recorded, status: int) -> None:
        """Note what a request was answered with."""
        request.status = status
        self.answers[request.endpoint or "unknown", status] += 1

    def stats(self) -> dict[str, Any]:
        """Return the number of requests, per endpoint and status too."""
        by_endpoint: dict[str, dict[str, int]] = {}
        for (endpoint, status), count in sorted(self.answers.items()):
            by_endpoint.setdefault(endpoint, {})[str(status) if status else "dropped"] = count
        return {"requests": self.total, "answers": by_endpoint}
