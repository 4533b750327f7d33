"""The simulated account: what it has, what it knows of subscribers, and its limits. No HTTP."""
