"""The simulator as an HTTP server: faults, the record of requests, and the control endpoint."""
