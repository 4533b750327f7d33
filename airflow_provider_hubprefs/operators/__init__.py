"""Write preferences: for one subscriber, or for many."""
