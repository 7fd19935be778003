"""Logs: one JSON object a line on standard error. Control characters are escaped, secrets never get here."""

from __future__ import annotations

import json
import logging
import sys
import time
from functools import lru_cache
from typing import Any


class JsonFormatter(logging.Formatter):
    """Time (UTC), level, logger and message; a traceback as one field."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def iso(seconds: float) -> str:
    return f"{_whole(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(maxsize=16)
def _whole(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


# For the ASGI server's own loggers, which are named by handler: its lines become ours.
AS_JSON: dict[str, Any] = {
    "formatters": {"json": {"()": "entrepot.logs.JsonFormatter"}},
    "handlers": {
        name: {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
        for name in ("console", "access")
    },
}


def configure(level: str = "INFO") -> None:
    """Send this process's logs to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
