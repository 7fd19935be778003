"""The byte plane: raw ASGI handlers of bytes, and of routes that clients poll or that carry large listings."""
