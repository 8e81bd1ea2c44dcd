"""What a row's values are: columns, mappings, and numbers with all of their characters."""
