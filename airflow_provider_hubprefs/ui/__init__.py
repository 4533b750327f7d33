"""What the plugin shows in the UI of Airflow."""
