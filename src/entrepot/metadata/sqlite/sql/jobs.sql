-- name: ask_to_cancel_of_waiters
UPDATE jobs SET cancel = 1
WHERE state IN ('queued', 'running') AND cancel = 0 AND waiter IN (SELECT value FROM json_each(?1));

-- name: release_leases_of
DELETE FROM leases WHERE holder IN (SELECT value FROM json_each(?1));
