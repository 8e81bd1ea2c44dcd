"""CSV, TSV and other text with separators: told, cut into rows, and made JSON lines."""
