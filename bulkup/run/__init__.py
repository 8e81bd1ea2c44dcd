"""Building a run from what the user asked for, and seeing it through."""
