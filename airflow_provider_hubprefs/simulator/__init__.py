"""A local HubSpot: communication preferences in all their versions, limits, faults, one command to start.

In a test::

    with Simulator(portal={"batch_maximum": 10}, seed=1) as hubspot:
        requests.get(
            f"{hubspot.url}/communication-preferences/2026-09/definitions",
            headers={"Authorization": f"Bearer {hubspot.token}"},
        )

On its own: ``python -m airflow_provider_hubprefs.simulator --port 0``. It needs the ``simulator`` extra.

It is written from HubSpot's published documents and from recorded live answers, and shares nothing with this
package's client, so that a misreading of HubSpot is not made twice.
"""

from airflow_provider_hubprefs.simulator.server.server import Simulator

__all__ = ["Simulator"]
