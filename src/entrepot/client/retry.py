"""When to try again, and how long to wait before: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from entrepot.client.errors import ConnectionFailed, EntrepotError, IntegrityError, ServerError

# 409 is in the stock client's list, where it means nothing permanent; our server says `conflict` when it does.
_TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504}
# The server's code for bytes that were changed on the way.
_MANGLED = "digest_mismatch"
# Damage on the server's disk, or what is in the way there, does not go away by asking again.
_LASTING = {"integrity_failed", "conflict"}
# Who asks for more patience than this, in seconds, is asking a person, not a program.
LONGEST_WAIT = 120.0
# And who asks for more than this is left, while there is another server.
_SHORT_WAIT = 2.0
_HASTY = 3  # attempts


@dataclass(frozen=True, slots=True)
class Policy:
    """Exponential back-off with jitter. `attempts` counts the first; seconds.

    `passing` are the attempts, and `longest` is the wait on demand, at what another way may do better; `failing` are
    the attempts at a server that answers, and fails. A refusal that may pass, such as 429, is the same everywhere:
    nobody goes elsewhere for it, so it is always waited for.
    """

    attempts: int = 10
    base: float = 0.1
    ceiling: float = 30.0
    passing: int | None = None
    failing: int | None = None
    longest: float = LONGEST_WAIT

    def pause(self, attempt: int, error: EntrepotError, random: float) -> float | None:
        """Seconds to wait after the failed `attempt` (from 1); None: give up. `random` is from 0 to 1."""
        elsewhere = is_elsewhere(error)
        fewer = self.passing if elsewhere else None
        if elsewhere and isinstance(error, ServerError) and self.failing is not None:
            fewer = self.failing
        if attempt >= (self.attempts if fewer is None else fewer) or not is_transient(error):
            return None
        delay = min(self.base * 2.0 ** (attempt - 1), self.ceiling) * (0.5 + random)
        asked = error.retry_after if isinstance(error, ServerError) else None
        if asked is None:
            return delay
        return max(delay, asked) if asked <= (self.longest if elsewhere else LONGEST_WAIT) else None


def hasty(policy: Policy) -> Policy:
    """The same for what can be done without."""
    return replace(policy, attempts=min(policy.attempts, _HASTY))


def passing(policy: Policy, *, server: bool) -> Policy:
    """The same, while there is another way; `server`: by another server."""
    longest = _SHORT_WAIT if server else policy.longest
    return replace(policy, passing=min(policy.attempts, _HASTY), longest=longest)


def failing(policy: Policy) -> Policy:
    """The same, while the same server has another route. One that cannot be reached is waited for: it is no better by
    the other route, and a request whose reply was lost can be repeated by this one only."""
    return replace(policy, failing=min(policy.attempts, _HASTY))


def brief(policy: Policy) -> Policy:
    """The same number of attempts within a few seconds, while nothing is lost by giving up: a server that is not there
    is told of soon."""
    return replace(policy, ceiling=min(policy.ceiling, 1.0))


def is_transient(error: EntrepotError) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, ServerError):
        return (error.status_code in _TRANSIENT and error.code not in _LASTING) or error.code == _MANGLED
    return isinstance(error, ConnectionFailed | IntegrityError)


def is_elsewhere(error: EntrepotError) -> bool:
    """Whether another server may do better: this one is unreachable, too slow, or failed. Never what it refused."""
    if isinstance(error, ServerError):
        return error.status_code >= 500 or error.status_code == 408
    return isinstance(error, ConnectionFailed)
