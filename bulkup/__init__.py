"""bulkup: move datasets of any size into Nebius Token Factory and Collinear AI."""
