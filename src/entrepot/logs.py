"""Logs on standard error: one JSON object a line, or lines to read on a terminal. Control characters are escaped,
secrets never get here."""

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


class TextFormatter(logging.Formatter):
    """Local time, level unless it is INFO, and message; a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        line = f"{clock(record.created)} {level}{printable(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def clock(seconds: float) -> str:
    """The local time of day, for people at a terminal."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def printable(text: str) -> str:
    """Text that cannot move the cursor, change colours or begin a line: what is not printable is escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def iso(seconds: float) -> str:
    return f"{_whole(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@lru_cache(maxsize=16)
def _whole(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def as_json(log_format: str) -> bool:
    """Whether lines are JSON objects, by the setting `log_format`: `auto` means unless a terminal shows them."""
    return log_format == "json" or (log_format == "auto" and not (sys.stderr and sys.stderr.isatty()))


def configuration(log_format: str) -> dict[str, Any]:
    """For the ASGI server's own loggers, which are named by handler: their lines become ours."""
    formatter = "JsonFormatter" if as_json(log_format) else "TextFormatter"
    return {
        "formatters": {"own": {"()": f"entrepot.logs.{formatter}"}},
        "handlers": {
            name: {"class": "logging.StreamHandler", "formatter": "own", "stream": "ext://sys.stderr"}
            for name in ("console", "access")
        },
    }


def configure(log_format: str = "json", level: str = "INFO") -> None:
    """Send this process's logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json(log_format) else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
