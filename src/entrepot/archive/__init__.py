"""Unpacking of archives that a stranger made."""
