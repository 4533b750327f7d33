"""Wait for HubSpot."""
