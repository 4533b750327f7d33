"""Task decorators: a function that yields rows becomes a run."""
