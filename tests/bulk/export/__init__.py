"""Exports: files, tables, and the runs that fill them."""
