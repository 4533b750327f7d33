"""What became of the rows of a run."""
