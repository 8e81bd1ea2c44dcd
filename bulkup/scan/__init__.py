"""Looking at all rows of a source before anything is sent: what is in them, what fits, what would be rejected."""
