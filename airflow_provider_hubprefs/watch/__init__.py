"""What has changed in HubSpot."""
