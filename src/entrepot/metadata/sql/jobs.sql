-- name: add_job
INSERT INTO jobs (
    id, account_id, key_id, kind, payload, target, waiter, created_at, updated_at, state, not_before, attempts, done
)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, 'queued', 0, 0, 0
WHERE (SELECT count(*) FROM jobs WHERE account_id = ?2 AND state IN ('queued', 'running')) < ?9;

-- name: job
SELECT id, account_id, key_id, kind, created_at, updated_at, payload, target, waiter, state, not_before, attempts,
    checkpoint, done, total, result, error
FROM jobs WHERE id = ?;

-- name: list_jobs
SELECT id, account_id, key_id, kind, created_at, updated_at, payload, target, waiter, state, not_before, attempts,
    checkpoint, done, total, result, error
FROM jobs
WHERE account_id = ?1 AND (?2 IS NULL OR nr < (SELECT b.nr FROM jobs AS b WHERE b.id = ?2 AND b.account_id = ?1))
ORDER BY nr DESC LIMIT ?3;

-- name: running_job
SELECT 1 FROM jobs WHERE id = ? AND attempts = ? AND state = 'running' AND cancel = 0;

-- name: any_due_job
-- A running job is due when its lease is over.
SELECT 1 FROM jobs WHERE state = 'queued' AND not_before <= ?1
UNION ALL
SELECT 1 FROM jobs
WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM leases AS l WHERE l.name = 'job ' || jobs.id AND l.until > ?1)
LIMIT 1;

-- name: note_job_progress
UPDATE jobs SET done = ?3, total = ?4, updated_at = ?5
WHERE id = ?1 AND attempts = ?2 AND state = 'running' AND cancel = 0;

-- name: save_job_checkpoint
UPDATE jobs SET checkpoint = ?3, updated_at = ?4
WHERE id = ?1 AND attempts = ?2 AND state = 'running' AND cancel = 0;

-- name: end_running_job
UPDATE jobs SET state = ?3, updated_at = ?4, result = ?5, error = ?6, payload = NULL, checkpoint = NULL,
    done = coalesce(?7, done), total = coalesce(?8, total)
WHERE id = ?1 AND attempts = ?2 AND state = 'running';

-- name: retry_running_job
UPDATE jobs SET state = 'queued', not_before = ?3, updated_at = ?4
WHERE id = ?1 AND attempts = ?2 AND state = 'running' AND cancel = 0;

-- name: cancel_queued_jobs
UPDATE jobs SET state = 'cancelled', updated_at = ?1, payload = NULL, checkpoint = NULL
WHERE state = 'queued' AND cancel = 1;

-- name: ask_to_cancel
UPDATE jobs SET cancel = 1 WHERE id = ? AND state IN ('queued', 'running') AND cancel = 0;

-- name: job_waiters
SELECT DISTINCT waiter FROM jobs WHERE state IN ('queued', 'running') AND cancel = 0 AND waiter IS NOT NULL;

-- name: forget_jobs
DELETE FROM jobs WHERE nr IN (
    SELECT nr FROM jobs WHERE state IN ('done', 'failed', 'cancelled') AND updated_at < ?1 ORDER BY updated_at LIMIT ?2
);

-- name: lost_jobs
SELECT id, attempts, cancel FROM jobs
WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM leases AS l WHERE l.name = 'job ' || jobs.id AND l.until > ?1);

-- name: running_jobs
SELECT account_id, key_id, count(*) FROM jobs WHERE state = 'running' GROUP BY account_id, key_id;

-- name: start_job
UPDATE jobs SET state = 'running', attempts = attempts + 1, updated_at = ?2 WHERE id = ?1;
