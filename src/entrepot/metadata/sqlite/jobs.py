"""The writes of jobs that are more than one statement: functions of the connection, as in `operations`."""

from __future__ import annotations

from typing import Any

import apsw

from entrepot.metadata import queries
from entrepot.metadata.base import Row
from entrepot.metadata.jobs import lease_name

SQL = queries.load("sqlite")


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
    for job_id, attempts in _fetch(db, "lost_jobs", now):
        if attempts >= max_attempts:
            end_job(db, job_id, attempts, "failed", now, None, error)
        else:
            retry_job(db, job_id, attempts, now, now)
    claimed: list[Row] = []
    while len(claimed) < limit and (found := _fetch(db, "next_job", now, per_account)):
        ((job_id,),) = found
        _changed(db, "start_job", job_id, now)
        _changed(db, "forget_lease", lease_name(job_id))
        _changed(db, "take_lease", lease_name(job_id), holder, now, seconds)
        claimed += _fetch(db, "job", job_id)
    return claimed


def end_job(
    db: apsw.Connection, job_id: str, attempt: int, state: str, now: float, result: str | None, error: str | None
) -> int:
    """See `JobRecords.end`."""
    ended = _changed(db, "end_running_job", job_id, attempt, state, now, result, error)
    if ended:
        _changed(db, "forget_lease", lease_name(job_id))
    return ended


def retry_job(db: apsw.Connection, job_id: str, attempt: int, not_before: float, now: float) -> int:
    """See `JobRecords.retry`."""
    queued = _changed(db, "retry_running_job", job_id, attempt, not_before, now)
    if queued:
        _changed(db, "forget_lease", lease_name(job_id))
    return queued


def _fetch(db: apsw.Connection, name: str, *args: Any) -> list[Row]:
    return db.execute(SQL[name], args).fetchall()


def _changed(db: apsw.Connection, name: str, *args: Any) -> int:
    db.execute(SQL[name], args)
    return db.changes()
