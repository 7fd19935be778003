"""Guarded fetch: HTTP to addresses that a stranger may have chosen."""
