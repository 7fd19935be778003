"""The HTTP routes of the /data volume: fal's Platform API and legacy REST paths (docs/protocol.md 6), and what we
add."""
