"""Fuzzers. Each module here but the runner has `one(case, scratch)`, which tries one random case."""
