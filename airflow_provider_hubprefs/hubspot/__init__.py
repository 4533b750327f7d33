"""HubSpot's communication preferences API, without Airflow: usable on its own.

Pure functions decide what to send and what an answer means (:mod:`.endpoints`, :mod:`.calls`, :mod:`.models`,
:mod:`.refusals`, :mod:`.retry`); :mod:`.client` and :mod:`.aio` only move bytes, sleep and ask the pacer.
"""
