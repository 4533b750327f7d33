"""Many subscribers: read, sent and accounted for, without Airflow."""
