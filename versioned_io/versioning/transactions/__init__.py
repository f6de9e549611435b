"""Transactions: staged changes that become commits all at once or not at all."""
