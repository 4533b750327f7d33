"""Apache Airflow provider for HubSpot's communication preferences."""

__version__ = "0.1.0"
