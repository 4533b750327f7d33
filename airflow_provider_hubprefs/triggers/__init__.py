"""Waits and watches in the triggerer."""

from datetime import timedelta

GRACE = timedelta(minutes=2)
"""A trigger keeps its own deadlines. Airflow's time-out comes this much later, in case no triggerer runs."""
