"""The HTTP doors: a handler parses, makes one service call, and responds."""
