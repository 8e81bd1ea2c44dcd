"""The flow of one destination's data: from the source to outcomes in the journal."""
