"""Jobs: durable background work that an account asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

MAX_ATTEMPTS = 3
# Unfinished jobs that an account may have.
MAX_UNFINISHED = 1000


class JobState(Enum):
    """Where a job is in its life. The last three are ends: a job in one of them never changes again."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is on record. `kind` names its handler.

    `payload` is what the handler works from, such as a URL with a signature in it: it is private, and gone when the job
    has ended. `target` is what its owner is shown instead. `waiter` is the process that waits for the end; when that
    process is gone the job is cancelled. `attempts` numbers the runs, so that the result of an old one is refused;
    `checkpoint` is what a run leaves for the next one. `done` and `total` are bytes. `result` is the handler's, `error`
    a `Problem` as a mapping. Times are in epoch seconds; it is not begun before `not_before`.
    """

    id: str
    account_id: str
    key_id: str
    kind: str
    created_at: float
    updated_at: float
    payload: Mapping[str, Any] | None = None
    target: Mapping[str, Any] = field(default_factory=dict)
    waiter: str | None = None
    state: JobState = JobState.QUEUED
    not_before: float = 0.0
    attempts: int = 0
    checkpoint: Mapping[str, Any] | None = None
    done: int = 0
    total: int | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
