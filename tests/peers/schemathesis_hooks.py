"""What schemathesis is told beside the document: an idempotency key stands for one request."""

from __future__ import annotations

from itertools import count
from typing import Any

import schemathesis

_NAME, _LONGEST = "Idempotency-Key", 255
_numbers = count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give every request a key of its own, unless its key is meant to be wrong."""
    key = (case.headers or {}).get(_NAME)
    if key is not None and len(key) <= _LONGEST:
        number = f"-{next(_numbers)}"
        case.headers[_NAME] = key[: _LONGEST - len(number)] + number
