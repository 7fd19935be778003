-- name: cancel_jobs_of_waiters
UPDATE jobs SET state = 'cancelled', updated_at = ?2, payload = NULL, checkpoint = NULL
WHERE state IN ('queued', 'running') AND waiter IN (SELECT value FROM json_each(?1));

-- name: release_leases_of
DELETE FROM leases WHERE holder IN (SELECT value FROM json_each(?1));
