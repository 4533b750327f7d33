"""How long answers took, in bounded memory: counted by microseconds of two significant digits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def bucket_of(seconds: float) -> int:
    """Return the microseconds of a duration, rounded up by less than 10 %."""
    microseconds = math.ceil(seconds * 1e6)
    step: int = 10 ** max(0, len(str(microseconds)) - 2)
    return -(-microseconds // step) * step


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """Return the milliseconds within which this share of the answers came; None without answers.

    :param buckets: number of answers in each.
    :param share: such as 0.95.
    """
    wanted = share * sum(buckets.values())
    for bucket in sorted(buckets):
        wanted -= buckets[bucket]
        if wanted <= 0:
            return bucket / 1000
    return None
