"""The command line: one code for ``hubprefs`` and ``airflow hubprefs``."""
