"""Tokens: where they come from, and that they are shown nowhere."""
