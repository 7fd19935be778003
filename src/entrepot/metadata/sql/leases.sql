-- name: take_lease
INSERT INTO leases (name, holder, until) VALUES (?1, ?2, ?3 + ?4)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE leases.holder = excluded.holder OR leases.until <= ?3;

-- name: release_lease
DELETE FROM leases WHERE name = ? AND holder = ?;

-- name: lease_holders
SELECT DISTINCT holder FROM leases;

-- name: forget_lease
DELETE FROM leases WHERE name = ?;
