"""What can go wrong on the user's side: one tree. Each error says what happened and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class EntrepotError(Exception):
    """Base of all errors of the client. `code` is stable; `fix` says what to do."""

    code = "failed"

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it passes between processes whatever its constructor takes."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[EntrepotError], args: tuple[object, ...], facts: dict[str, object]) -> EntrepotError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class ConfigurationError(EntrepotError):
    """No usable URL, key or option."""

    code = "configuration"


class PathError(ConfigurationError):
    """Text that names nothing on a volume."""

    code = "bad_path"


class SourceError(EntrepotError):
    """What was to be uploaded cannot be read, or is nothing that can be uploaded."""

    code = "source_unreadable"


class SourceChanged(SourceError):
    """The file is not what it was when its transfer began. Nothing was published, or put in the target's place."""

    code = "source_changed"


class ImageNotEncodable(SourceError, ValueError):
    """An image cannot be stored in this format, or is none."""

    code = "image_not_encodable"


class TargetError(EntrepotError):
    """What was downloaded cannot be put where it should."""

    code = "target_unusable"


class TargetExists(TargetError):
    """There is a file already, and it was not to be replaced."""

    code = "target_exists"


class IntegrityError(EntrepotError):
    """Other bytes were stored, or came, than those that were sent."""

    code = "integrity_failed"


class ConnectionFailed(EntrepotError):
    """The server cannot be reached, or the connection broke. What was under way may have happened."""

    code = "connection_failed"


class Stalled(ConnectionFailed, TimeoutError):
    """No byte moved for as long as the client waits (`default_timeout`)."""

    code = "stalled"


class TlsFailed(EntrepotError):
    """The server's certificate is not to be trusted. Never retried, and no reason to try another server."""

    code = "tls_failed"


class ServerError(EntrepotError):
    """The server refused. `status_code` is the HTTP status, `code` the server's error code, `request_id` names the
    request in its log, `retry_after` is in seconds."""

    def __init__(
        self,
        message: str,
        fix: str,
        status: int,
        code: str = "",
        request_id: str = "",
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, fix)
        self.status_code = status
        self.code = code or f"http_{status}"
        self.request_id = request_id
        self.retry_after = retry_after
        self.response_headers = dict(headers or {})
        self.error_type = self.response_headers.get("x-fal-error-type")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way that was tried: the server's URL, the repository, and what went wrong there."""

    url: str
    repository: str
    error: EntrepotError


class AllFailed(EntrepotError):
    """Every server and repository was tried, or the last one refused; `attempts` lists them in order."""

    code = "all_failed"

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        lines = [f"{each.url} ({each.repository}): {each.error.message}" for each in attempts]
        super().__init__("The upload failed everywhere. " + " ".join(lines), attempts[-1].error.fix)
        self.attempts = tuple(attempts)
