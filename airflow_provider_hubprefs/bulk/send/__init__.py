"""Rows to outcomes."""
