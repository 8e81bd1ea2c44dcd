"""Finding what an endpoint takes: what is measured next, how it is sent, and what is concluded."""
