"""HubSpot's endpoints over the simulated account: from a request to an answer. No network."""
