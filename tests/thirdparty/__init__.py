"""A destination that is none of bulkup's, and the service that it speaks to."""
