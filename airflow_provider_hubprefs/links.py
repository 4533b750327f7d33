"""Links from a task to its report, its dead letters and HubSpot's settings."""
