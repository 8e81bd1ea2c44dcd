"""What becomes of a chunk in doubt, by what a destination lets us see: its chunks' names, or a count of rows."""
