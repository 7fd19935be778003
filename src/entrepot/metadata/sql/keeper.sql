-- name: note_orphans
INSERT INTO orphans (key, seen_at, looked_at) SELECT value, ?2, ?2 FROM json_each(?1) WHERE true
ON CONFLICT (key) DO UPDATE SET seen_at = min(seen_at, excluded.seen_at), looked_at = excluded.looked_at;

-- name: due_orphans
SELECT key FROM orphans WHERE looked_at = ? AND seen_at <= ? LIMIT ?;

-- name: forget_orphans
DELETE FROM orphans WHERE key IN (SELECT value FROM json_each(?));

-- name: forget_other_orphans
DELETE FROM orphans
WHERE key IN (SELECT key FROM orphans WHERE looked_at < ?1 OR looked_at > ?1 LIMIT ?2);

-- name: fact
SELECT value FROM facts WHERE name = ?;

-- name: set_fact
INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
