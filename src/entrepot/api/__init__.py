"""The HTTP interface: a handler parses, makes one service call, and responds."""
