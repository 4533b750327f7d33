"""How a call is sent."""
