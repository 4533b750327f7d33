"""How many requests other clients of the same app send, as ``X-HubSpot-RateLimit-Remaining`` shows it."""

from __future__ import annotations

from dataclasses import dataclass

NEVER = float("-inf")


@dataclass(slots=True)
class Others:
    """The most requests of others in this interval and in the one before; the figure decays by a quarter with each.

    **Doubt.** HubSpot's count of the window rises with each of our requests. Where it stands still although many of
    ours were answered, the header is not about this window (stuck, or of another one), and does not count for
    three intervals. What we may have overlooked is then a 429, and a 429 ends the doubt.

    :param most: in this interval.
    :param before: in the one before.
    :param since: when this interval began.
    :param reported: whether an answer of this interval said what remains.
    :param doubted_until: no figure counts before.
    :param first_sent: when the first of the answers was sent that are compared now, within an interval.
    :param old: how many of our requests were in the window before it, at most.
    :param answers: how many are compared.
    :param lowest: figure among them.
    :param highest: figure among them.
    """

    most: int = 0
    before: int = 0
    since: float = NEVER
    reported: bool = False
    doubted_until: float = NEVER
    first_sent: float = NEVER
    old: int = 0
    answers: int = 0
    lowest: int = 0
    highest: int = 0

    def count(self, limit: int) -> int:
        """So many slots to leave: a few more than they use, so that they can grow up to half of the limit."""
        used = max(self.most, self.before)
        return min(limit * 3 // 4, max(used, min(used + used // 4 + 2, limit // 2))) if used else 0

    def turn_over(self, now: float, interval: float) -> bool:
        """Begin a new interval if this one is over; return whether it and the one before had no others."""
        past = now - self.since
        if past < interval:
            return False
        unseen = self.reported and not self.most and not self.before
        self.before = max(self.most, self.before * 3 // 4)
        if past >= 2 * interval:  # no request asked meanwhile
            self.before = int(self.before * 0.75 ** min(past / interval - 1, 99))
        self.most, self.since, self.reported = 0, now, False
        return unseen

    def notice(self, now: float, more: int) -> bool:
        """Count requests that were certainly not ours, if there are any; return whether they count."""
        self.reported = True
        if more <= 0 or now < self.doubted_until:
            return False
        self.most = max(self.most, more)
        return True

    def refused(self, limit: int) -> None:
        """A 429 came: the window was full, so their rate is unknown. A third of the limit is left to them."""
        self.most = max(self.most, limit // 3)
        self.doubted_until, self.answers = NEVER, 0

    def compare(
        self, now: float, sent: float, own: tuple[int, int], used: int, *, interval: float, limit: int
    ) -> None:
        """Doubt the figure where it is less than what we sent, or does not move with it.

        Among requests that were sent and answered within one interval, the last to arrive found the others counted.

        :param sent: when this answer's request was sent.
        :param own: how many of ours were certainly in the window then, and how many perhaps.
        :param used: the figure.
        """
        certain, old = own
        if used < certain:
            return self._doubt(now + 3 * interval)
        if not self.answers or now > self.first_sent + interval or old < self.old:
            self.first_sent, self.old, self.answers, self.lowest, self.highest = sent, old, 1, used, used
            return None
        self.answers += 1
        self.lowest, self.highest = min(self.lowest, used), max(self.highest, used)
        rise = self.answers - 1 - self.old
        if rise >= max(4, limit // 10) and 2 * (self.highest - self.lowest) < rise:
            return self._doubt(now + 3 * interval)
        return None

    def _doubt(self, until: float) -> None:
        self.most = self.before = 0
        self.doubted_until = until
