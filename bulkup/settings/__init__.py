"""The option tables: each setting once, with its type, default and bounds, and what a person calls it. They load nothing heavy."""
