"""The journal in PostgreSQL: several runs in one database, which any machine may go on with."""
