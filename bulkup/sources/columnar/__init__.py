"""Files of columns, by polars."""
