"""Waits and watches in the triggerer."""

RETRY_TOTAL = 30.0
"""Seconds. A poll that fails is followed by another, so its own retries may end early."""
