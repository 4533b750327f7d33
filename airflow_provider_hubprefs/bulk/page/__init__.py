"""The page of a run: one HTML file made of its report."""
