"""What a run comes to: every row accounted for, by one rule."""
