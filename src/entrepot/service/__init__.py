"""Deeds: begin, write, put, open, expire, who-may. Authorisation is the first line of every method."""
