"""What a run has written, record by record, so that it can be proven later."""
