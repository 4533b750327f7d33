"""Turn a connection into a client."""
