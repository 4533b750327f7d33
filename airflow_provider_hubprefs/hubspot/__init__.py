"""HubSpot's communication preferences API, without Airflow: usable on its own.

What to send and what an answer means is decided by pure functions (:mod:`.endpoints`, :mod:`.calls`,
:mod:`.models`, :mod:`.errors`, :mod:`.retry`); :mod:`.client` only moves bytes, sleeps and asks the pacer.
"""
