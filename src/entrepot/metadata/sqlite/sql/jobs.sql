-- name: ask_to_cancel_of_waiters
UPDATE jobs SET cancel = 1
WHERE state IN ('queued', 'running') AND cancel = 0 AND waiter IS NOT NULL
    AND waiter IN (SELECT value FROM json_each(?1));

-- name: release_leases_of
DELETE FROM leases WHERE holder IN (SELECT value FROM json_each(?1));

-- name: oldest_queued_jobs
-- (With min(), SQLite takes the other columns of the same row.)
SELECT account_id, key_id, min(nr), id FROM jobs
WHERE state = 'queued' AND not_before <= ?
GROUP BY account_id, key_id;
