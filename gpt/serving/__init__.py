"""Serve a model to programs of others: who waits, what is said, and how it travels."""
