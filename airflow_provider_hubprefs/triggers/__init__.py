"""What waits in the triggerer."""

from datetime import timedelta

GRACE = timedelta(minutes=2)
"""A trigger knows its deadlines; Airflow's own comes this much later, for a triggerer that is not there."""
