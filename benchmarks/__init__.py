"""Measured side by side with peers, in one run: `make bench`. Never part of the tests."""
