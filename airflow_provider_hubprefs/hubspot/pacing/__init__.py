"""The request budget that all processes of an account share."""
