"""URIs of what a portal keeps about its subscribers, for assets (datasets on Airflow 2) and lineage.

``hubspot://<portal>/subscriptions/<id>`` are the statuses for one subscription, ``hubspot://<portal>/subscriptions``
those for all of them; ``hubspot://<portal>/opt-outs`` are the opt-outs of everything, and
``hubspot://<portal>/opt-outs/<brand>`` those of one brand. ``<portal>`` is the portal's number, or the id of the
Airflow connection where the number is not known.

Airflow imports this module when it meets such a URI; it imports nothing that Airflow has not loaded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from airflow_provider_hubprefs.compat import Asset

SCHEME = "hubspot"
_PORTAL = re.compile(r"[A-Za-z0-9_-]+")
_PATH = re.compile(r"/(subscriptions|opt-outs)(?:/([0-9]+))?")


def dataset_name(*, subscription_id: object = None, every: bool = False, brand: object = None) -> str:
    """What is read or written, without its portal, such as ``subscriptions/123``.

    :param subscription_id: a number; what is none, such as a template, is left out.
    :param every: all subscriptions.
    :param brand: of opt-outs; a number.
    """
    kind, number = ("subscriptions", subscription_id) if every or subscription_id else ("opt-outs", brand)
    digits = str(number).strip()
    return f"{kind}/{int(digits)}" if digits.isascii() and digits.isdigit() else kind


def namespace(portal: int | str) -> str:
    """The portal's URI; what could not stand in a connection's place is replaced."""
    return f"{SCHEME}://" + re.sub(r"[^A-Za-z0-9_-]", "_", str(portal))


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Normalise a URI; Airflow calls this for every asset and dataset of this scheme.

    :raises ValueError: it is none of these. The text does not repeat it: it may have an address in it.
    """
    found = _PATH.fullmatch(uri.path)
    if found is None or not _PORTAL.fullmatch(uri.netloc) or uri.query or uri.fragment:
        raise ValueError(
            f"not a URI of HubSpot's preferences: expected {SCHEME}://<portal>/subscriptions/<id> or {SCHEME}://<portal>/"
            "opt-outs, with the portal's number or a connection's id; an address has no place in a URI"
        )
    kind, number = found.groups()
    return uri._replace(path=f"/{kind}" if number is None else f"/{kind}/{int(number)}")


def create_asset(
    *,
    portal: int | str,
    subscription_id: int | None = None,
    business_unit_id: int | None = None,
    extra: dict[str, Any] | None = None,
) -> Asset:
    """Make the asset of a subscription, or of opt-outs; Airflow calls this for lineage of hooks.

    :param portal: its number, or the connection's id.
    :param subscription_id: without it, opt-outs.
    :param business_unit_id: only opt-outs of this brand.
    """
    from airflow_provider_hubprefs.compat import Asset

    name = dataset_name(subscription_id=subscription_id, brand=business_unit_id)
    return Asset(uri=f"{namespace(portal)}/{name}", extra=extra or {})


def to_openlineage(asset: Asset, lineage_context: Any) -> Any:
    """Make OpenLineage's data set of an asset."""
    from openlineage.client.event_v2 import Dataset

    portal, _, name = asset.uri.removeprefix(f"{SCHEME}://").partition("/")
    return Dataset(namespace=namespace(portal), name=name)
