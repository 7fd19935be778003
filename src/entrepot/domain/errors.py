"""The one table of what can go wrong: a stable code, and what the reader of the error can do about it.

The HTTP status of a code is the doors' business (`api.responses`). Messages say what is wrong with this request; the
fix says what to do. Neither ever holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any


class Code(Enum):
    """Stable error codes: `(code, fix)`. Codes are part of the wire and are never renamed."""

    INVALID_REQUEST = ("invalid_request", "Correct the request; the documentation shows its form.")
    VALIDATION_FAILED = ("validation_failed", "Correct the named field and send the request again.")
    UNAUTHORIZED = ("unauthorized", "Send 'Authorization: Key <id>:<secret>' with a key that is not revoked.")
    FORBIDDEN = ("forbidden", "Ask the owner for access, or use a credential that has it.")
    NOT_FOUND = ("not_found", "Check the URL: it must be the whole one that the upload returned.")
    GONE = ("gone", "The lifetime of this file is over. Upload it again to get a new URL.")
    METHOD_NOT_ALLOWED = ("method_not_allowed", "Use one of the methods named in the Allow header.")
    TIMED_OUT = ("timed_out", "Send the body without long pauses; nothing was stored.")
    ALREADY_PUBLISHED = ("already_published", "A URL has one content for life: begin a new upload.")
    CONFLICT = ("conflict", "Read what is there and decide again.")
    PRECONDITION_FAILED = ("precondition_failed", "Read the file's current ETag and decide again.")
    RANGE_NOT_SATISFIABLE = ("range_not_satisfiable", "Ask for bytes within the size that Content-Range names.")
    TOO_LARGE = ("too_large", "Send a smaller body, or raise the limit in the server's settings.")
    INVALID_PARTS = ("invalid_parts", "List each uploaded part once, with the ETag of its reply; then finish again.")
    EMPTY_PART = ("empty_part", "Upload the named parts again with their bytes; then finish again.")
    SIZE_MISMATCH = ("size_mismatch", "Upload what is missing; then finish again.")
    QUOTA_EXCEEDED = (
        "quota_exceeded",
        "Wait until files of this account expire, or raise the quota (--account-quota).",
    )
    DIGEST_MISMATCH = ("digest_mismatch", "The bytes changed on the way: send them again.")
    UNSUPPORTED_DIGEST = ("unsupported_digest", "Use one of the algorithms that the message names.")
    MISDIRECTED = ("misdirected", "Use a host name that the server's settings accept.")
    BLOCKED_ADDRESS = ("blocked_address", "Use a URL that the public internet can reach.")
    FETCH_FAILED = ("fetch_failed", "Check the URL, then try again.")
    RATE_LIMITED = ("rate_limited", "Wait for the seconds of the Retry-After header, then go on.")
    INTEGRITY_FAILED = ("integrity_failed", "The stored bytes are damaged: restore the file from a backup.")
    UNAVAILABLE = ("unavailable", "Try again in a moment; the server's log names the cause.")
    INSUFFICIENT_STORAGE = ("insufficient_storage", "The server's disk is full: free space, then try again.")
    INTERNAL = ("internal", "This is a defect: report it with the request id.")

    def __init__(self, code: str, fix: str) -> None:
        self.code = code
        self.fix = fix


class Problem(Exception):
    """A request that cannot be answered as asked.

    `where` names the offending field as a path (`("header", "x-fal-object-lifecycle", "initial_acl")`); it makes the
    reply a field error. `retry_after` is in seconds.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        where: Sequence[str | int] = (),
        fix: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = tuple(where)
        self.fix = fix or code.fix
        self.retry_after = retry_after

    def __repr__(self) -> str:
        return f"Problem({self.code.code}: {self.message})"

    def as_dict(self) -> dict[str, Any]:
        """This problem as JSON values, for `from_dict`."""
        return {
            "code": self.code.code,
            "message": self.message,
            "where": list(self.where),
            "fix": self.fix,
            "retry_after": self.retry_after,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Problem:
        """The problem that `as_dict` wrote down."""
        code = next(code for code in Code if code.code == fields["code"])
        return cls(code, fields["message"], where=fields["where"], fix=fields["fix"], retry_after=fields["retry_after"])


def not_found() -> Problem:
    """The one answer for what does not exist and for what the reader may not know to exist (ACL `hide`)."""
    return Problem(Code.NOT_FOUND, "There is no file at this URL.")


def as_problem(error: Exception, failures: Mapping[type[Exception], Code]) -> Problem | None:
    """The problem that an exception stands for; None for a defect of ours."""
    if isinstance(error, Problem):
        return error
    for kind, code in failures.items():
        if isinstance(error, kind):
            return Problem(code, _CAUSES[code])
    return None


_CAUSES = {
    Code.INSUFFICIENT_STORAGE: "The server has no room for this; nothing was stored.",
    Code.UNAVAILABLE: "The server cannot read or write its storage at the moment; nothing was acknowledged.",
    Code.GONE: "This file was removed.",
}
