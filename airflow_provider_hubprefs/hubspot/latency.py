"""How long answers took, in bounded memory: counted by buckets, each a fifth wider than the one before."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_A_DOUBLING = 4
"""Buckets from one duration to its double: what is read from them is at most 9 % off."""


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration; below half a millisecond they are one."""
    return round(_A_DOUBLING * math.log2(max(seconds * 1000, 0.5)))


def milliseconds_of(bucket: int) -> float:
    """Return the duration in the middle of a bucket."""
    return math.pow(2, bucket / _A_DOUBLING)


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """Return so many milliseconds that this share of the answers took no longer; None without answers.

    :param buckets: how many answers are in each.
    :param share: 0.95, say.
    """
    wanted = share * sum(buckets.values())
    for bucket in sorted(buckets):
        wanted -= buckets[bucket]
        if wanted <= 0:
            return round(milliseconds_of(bucket), 1)
    return None
