"""What can go wrong on the user's side; each error says what happened and what to do."""

from __future__ import annotations


class EntrepotError(Exception):
    """Base of all errors of the client. `fix` says what to do about it."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class ConfigurationError(EntrepotError):
    """No usable URL or key."""


class ConnectionFailed(EntrepotError):
    """The server cannot be reached, or the connection broke."""


class IntegrityError(EntrepotError):
    """The server stored other bytes than were sent."""


class ServerError(EntrepotError):
    """The server refused. `status` is the HTTP status, `code` the server's error code, `request_id` names the request
    in its log."""

    def __init__(self, message: str, fix: str, status: int, code: str, request_id: str) -> None:
        super().__init__(message, fix)
        self.status = status
        self.code = code
        self.request_id = request_id
