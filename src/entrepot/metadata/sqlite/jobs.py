"""The writes of jobs that are more than one statement: functions of the connection, as in `operations`."""

from __future__ import annotations

from collections import Counter

import apsw

from entrepot.metadata.base import Row
from entrepot.metadata.jobs import lease_name
from entrepot.metadata.sqlite.statements import changed, fetch


def claim_jobs(
    db: apsw.Connection,
    holder: str,
    now: float,
    seconds: float,
    limit: int,
    per_account: int,
    max_attempts: int,
    error: str,
) -> list[Row]:
    """See `JobRecords.claim`."""
    for job_id, attempts, cancel in fetch(db, "lost_jobs", now):
        if cancel:
            end_job(db, job_id, attempts, "cancelled", now, None, None)
        elif attempts >= max_attempts:
            end_job(db, job_id, attempts, "failed", now, None, error)
        else:
            retry_job(db, job_id, attempts, now, now)
    claimed: list[Row] = []
    while len(claimed) < limit and (job_id := _next_job(db, now, per_account)):
        changed(db, "start_job", job_id, now)
        changed(db, "forget_lease", lease_name(job_id))
        changed(db, "take_lease", lease_name(job_id), holder, now, seconds)
        claimed += fetch(db, "job", job_id)
    return claimed


def _next_job(db: apsw.Connection, now: float, per_account: int) -> str | None:
    """The id of the job whose turn it is."""
    accounts, keys = Counter[str](), Counter[str]()
    for account_id, key_id, running in fetch(db, "running_jobs"):
        accounts[account_id] += running
        keys[key_id] += running
    turns = [
        (accounts[account_id], keys[key_id], nr, job_id)
        for account_id, key_id, nr, job_id in fetch(db, "oldest_queued_jobs", now)
        if accounts[account_id] < per_account or not keys[key_id]
    ]
    return min(turns)[-1] if turns else None


def end_job(
    db: apsw.Connection,
    job_id: str,
    attempt: int,
    state: str,
    now: float,
    result: str | None,
    error: str | None,
    done: int | None = None,
    total: int | None = None,
) -> int:
    """See `JobRecords.end`."""
    ended = changed(db, "end_running_job", job_id, attempt, state, now, result, error, done, total)
    if ended:
        changed(db, "forget_lease", lease_name(job_id))
    return ended


def retry_job(db: apsw.Connection, job_id: str, attempt: int, not_before: float, now: float) -> int:
    """See `JobRecords.retry`."""
    queued = changed(db, "retry_running_job", job_id, attempt, not_before, now)
    if queued:
        changed(db, "forget_lease", lease_name(job_id))
    return queued


def cancel_job(db: apsw.Connection, job_id: str, now: float) -> int:
    """See `JobRecords.cancel`."""
    asked = changed(db, "ask_to_cancel", job_id)
    changed(db, "cancel_queued_jobs", now)
    return asked


def cancel_jobs_of_waiters(db: apsw.Connection, waiters: str, now: float) -> int:
    """See `JobRecords.cancel_of_waiters`."""
    asked = changed(db, "ask_to_cancel_of_waiters", waiters)
    changed(db, "cancel_queued_jobs", now)
    return asked
