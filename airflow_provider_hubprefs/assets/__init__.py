"""Data sets of HubSpot, as Airflow's assets name them."""
