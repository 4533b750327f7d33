"""The table against HubSpot's published OpenAPI documents, where these are at hand."""

from __future__ import annotations

import pytest

from .table import TABLE, distilled, published

# 2026-09 has the contract of 2026-03: the public preview of 2026-09 is older than its release.
PUBLISHED = ["v4", "2026-03"]


@pytest.mark.parametrize("version", PUBLISHED)
def test_the_table_is_what_hubspot_publishes(version: str) -> None:
    said = published(version)
    if said is None:
        pytest.skip("HubSpot's OpenAPI documents are not at hand: HUBPREFS_SPECS names their folder")
    found = distilled(said)

    assert found["operations"] == TABLE["operations"]
    assert found["types"] == {name: each for name, each in TABLE["types"].items() if name != "Results"}
