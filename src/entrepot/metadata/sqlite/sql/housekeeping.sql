-- name: expire_objects
-- An object lets go by losing its blob_nr; a trigger marks the blob.
UPDATE objects SET state = 'expired', ended_at = expires_at, blob_nr = NULL,
    sha256 = (SELECT b.sha256 FROM blobs AS b WHERE b.nr = objects.blob_nr)
WHERE rowid IN (
    SELECT rowid FROM objects WHERE state = 'live' AND expires_at IS NOT NULL AND expires_at <= ?
    ORDER BY expires_at LIMIT ?
);

-- name: settle_blobs
-- Every loose blob is looked at once: still held makes it live again, held by nobody makes it dying.
-- (state <> 'live' is there so that the partial index is used.)
UPDATE blobs SET state = CASE
    WHEN EXISTS (SELECT 1 FROM objects AS o WHERE o.blob_nr = blobs.nr) THEN 'live'
    WHEN EXISTS (SELECT 1 FROM parts AS p WHERE p.blob_nr = blobs.nr) THEN 'live'
    ELSE 'dying' END
WHERE nr IN (SELECT nr FROM blobs WHERE state <> 'live' AND state = 'loose' LIMIT ?)
RETURNING state;

-- name: forget_objects
DELETE FROM objects WHERE rowid IN (
    SELECT rowid FROM objects WHERE ended_at < ? AND blob_nr IS NULL ORDER BY ended_at LIMIT ?
);

-- name: known_keys
SELECT key FROM segments WHERE key IN (SELECT value FROM json_each(?));

-- name: forget_uploads
DELETE FROM uploads
WHERE id IN (SELECT id FROM uploads WHERE ended_at < ? ORDER BY ended_at LIMIT ?);

-- name: note_orphans
INSERT INTO orphans (key, seen_at, looked_at) SELECT value, ?2, ?2 FROM json_each(?1) WHERE true
ON CONFLICT (key) DO UPDATE SET seen_at = min(seen_at, excluded.seen_at), looked_at = excluded.looked_at;

-- name: forget_orphans
DELETE FROM orphans WHERE key IN (SELECT value FROM json_each(?));
