"""One poll for many waits."""
