"""How long answers took, in bounded memory: counted in buckets, each a fifth wider than the one before."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PER_DOUBLING = 4
"""Buckets from one duration to its double: a percentile is at most 9 % off."""


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration; durations below half a millisecond share one."""
    return round(_PER_DOUBLING * math.log2(max(seconds * 1000, 0.5)))


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """Return the milliseconds within which this share of the answers came; None without answers.

    :param buckets: number of answers in each.
    :param share: such as 0.95.
    """
    wanted = share * sum(buckets.values())
    for bucket in sorted(buckets):
        wanted -= buckets[bucket]
        if wanted <= 0:
            return round(math.pow(2, bucket / _PER_DOUBLING), 1)  # the middle of the bucket
    return None
