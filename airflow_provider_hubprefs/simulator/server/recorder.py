"""The last requests, and counts of all of them."""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class RecordedRequest:
    """One request as it arrived, and the status it was answered with.

    :ivar headers: with lower-case names; ``authorization`` holds the token's name instead of the token.
    :ivar endpoint: the name of its route; empty where nothing is served.
    :ivar status: 0 when the connection was dropped.
    :ivar fault: the kind of fault that struck it, or an empty string.
    """

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


_SECRET = re.compile(r'((?:client_secret|refresh_token|tokenKey)(?:=|"\s*:\s*"))[^&"]*')


def without_secrets(body: str) -> str:
    """Return a body whose client secret, refresh token and access token are blanked; the control endpoint shows it."""
    return _SECRET.sub(r"\1***", body)


class Recorder:
    """The last requests, bounded in number, and counts of all.

    :param maximum: how many requests are kept.
    :ivar total: how many there were.
    """

    def __init__(self, maximum: int) -> None:
        self.kept: deque[RecordedRequest] = deque(maxlen=maximum)
        self.total = 0
        self._answers: Counter[tuple[str, int]] = Counter()

    def add(self, request: RecordedRequest) -> None:
        """Keep a request; the oldest one goes when there are too many."""
        self.total += 1
        self.kept.append(request)

    def answered(self, request: RecordedRequest, status: int) -> None:
        """Note what a request was answered with."""
        request.status = status
        self._answers[request.endpoint or "unknown", status] += 1

    def stats(self) -> dict[str, Any]:
        """Return the number of requests, in all and per endpoint and status."""
        by_endpoint: dict[str, dict[str, int]] = {}
        for (endpoint, status), count in sorted(self._answers.items()):
            by_endpoint.setdefault(endpoint, {})[str(status) if status else "dropped"] = count
        return {"requests": self.total, "answers": by_endpoint}
