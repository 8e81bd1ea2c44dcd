"""Sources: what comes out is what went in."""
