"""HubSpot's communication preferences API, without Airflow: usable on its own.

Pure functions decide what to send and what an answer means (:mod:`.api`); the two clients (:mod:`.transport`) only
move bytes, sleep and ask the pacer.
"""
