"""What HubSpot can be asked, and what its answers mean: no input or output."""
