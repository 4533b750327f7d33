"""The difference between what is wanted and what HubSpot has: made, guarded, kept in a file, and applied."""
