"""The wheel in each version of Airflow it promises to work with; see ``run.py``. Not part of ``make test``."""
