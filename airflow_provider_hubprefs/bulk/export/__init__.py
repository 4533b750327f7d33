"""What HubSpot has, as files and tables."""
