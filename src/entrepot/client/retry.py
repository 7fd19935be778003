"""When to try again, and how long to wait before: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from entrepot.client.errors import ConnectionFailed, EntrepotError, IntegrityError, ServerError

# 409 is in the stock client's list, where it means nothing permanent; our server never sends it.
_TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504}
# The server's code for bytes that were changed on the way.
_MANGLED = "digest_mismatch"
# Damage on the server's disk does not go away by asking again.
_LASTING = "integrity_failed"
# Who asks for more patience than this, in seconds, is asking a person, not a program.
LONGEST_WAIT = 120.0


@dataclass(frozen=True, slots=True)
class Policy:
    """Exponential back-off with jitter. `attempts` counts the first; seconds."""

    attempts: int = 10
    base: float = 0.1
    ceiling: float = 30.0

    def pause(self, attempt: int, error: EntrepotError, random: float) -> float | None:
        """Seconds to wait after the failed `attempt` (from 1); None: give up. `random` is from 0 to 1."""
        if attempt >= self.attempts or not is_transient(error):
            return None
        delay = min(self.base * 2.0 ** (attempt - 1), self.ceiling) * (0.5 + random)
        asked = error.retry_after if isinstance(error, ServerError) else None
        if asked is None:
            return delay
        return max(delay, asked) if asked <= LONGEST_WAIT else None


def hasty(policy: Policy) -> Policy:
    """The same, while there is another server to go to."""
    return replace(policy, attempts=min(policy.attempts, 3))


def brief(policy: Policy) -> Policy:
    """The same number of attempts within a few seconds, while nothing is lost by giving up: a server that is not there
    is told of soon."""
    return replace(policy, ceiling=min(policy.ceiling, 1.0))


def is_transient(error: EntrepotError) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, ServerError):
        return (error.status_code in _TRANSIENT and error.code != _LASTING) or error.code == _MANGLED
    return isinstance(error, ConnectionFailed | IntegrityError)


def is_elsewhere(error: EntrepotError) -> bool:
    """Whether another server may do better: this one is unreachable, too slow, or failed. Never what it refused."""
    if isinstance(error, ServerError):
        return error.status_code >= 500 or error.status_code == 408
    return isinstance(error, ConnectionFailed)
