-- name: dying_blobs
SELECT b.id, s.key
FROM blobs AS b LEFT JOIN segments AS s ON s.blob_nr = b.nr
WHERE b.state <> 'live' AND b.state = 'dying'
ORDER BY b.nr, s.start;

-- name: forget_blob
DELETE FROM blobs WHERE id = ? AND state = 'dying';

-- name: count_segments
SELECT count(*) FROM segments;

-- name: due_orphans
SELECT key FROM orphans WHERE looked_at = ? AND seen_at <= ? LIMIT ?;

-- name: forget_other_orphans
DELETE FROM orphans
WHERE key IN (SELECT key FROM orphans WHERE looked_at < ?1 OR looked_at > ?1 LIMIT ?2);

-- name: fact
SELECT value FROM facts WHERE name = ?;

-- name: set_fact
INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: check
SELECT count(*) FROM (SELECT id FROM accounts LIMIT 1);
