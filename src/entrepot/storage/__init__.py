"""The storage of bytes."""
