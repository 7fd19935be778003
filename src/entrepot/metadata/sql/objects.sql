-- name: add_object
INSERT INTO objects (
    id, path, name, account_id, blob_nr, size, content_type, sniffed_type, inline, acl,
    published_at, expires_at, state, request_id
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: object
SELECT o.id, o.path, o.name, o.account_id, coalesce(b.id, ''), o.size, coalesce(b.sha256, o.sha256),
    o.content_type, o.sniffed_type, o.inline, o.acl, o.published_at, o.expires_at, o.state, o.request_id
FROM objects AS o LEFT JOIN blobs AS b ON b.nr = o.blob_nr
WHERE o.id = ?;

-- name: expire_objects
-- An object lets go by losing its blob_nr; a trigger marks the blob.
UPDATE objects SET state = 'expired', ended_at = expires_at, blob_nr = NULL,
    sha256 = (SELECT b.sha256 FROM blobs AS b WHERE b.nr = objects.blob_nr)
WHERE rowid IN (
    SELECT rowid FROM objects WHERE state = 'live' AND expires_at IS NOT NULL AND expires_at <= ?
    ORDER BY expires_at LIMIT ?
);

-- name: forget_objects
DELETE FROM objects WHERE rowid IN (
    SELECT rowid FROM objects WHERE ended_at < ? AND blob_nr IS NULL ORDER BY ended_at LIMIT ?
);

-- name: add_blob
INSERT INTO blobs (id, size, sha256) VALUES (?, ?, ?) RETURNING nr;

-- name: blob
SELECT nr, state FROM blobs WHERE id = ?;

-- name: add_checksums
INSERT INTO checksums (size, blocks) VALUES (?, ?) RETURNING nr;

-- name: add_segment
INSERT INTO segments (blob_nr, start, key, size, checksums_nr) VALUES (?, ?, ?, ?, ?);

-- name: move_segments
-- All in one statement, because a large upload has thousands: ?2 is a JSON array of [key, start, size]. Only those that
-- a part of this upload (?3) held alone: any other would be taken from a living object.
UPDATE segments SET blob_nr = ?1, start = wanted.start
FROM (SELECT value ->> 0 AS key, value ->> 1 AS start, value ->> 2 AS size FROM json_each(?2)) AS wanted
WHERE segments.key = wanted.key AND segments.size = wanted.size
    AND EXISTS (SELECT 1 FROM parts AS p WHERE p.blob_nr = segments.blob_nr AND p.upload_id = ?3)
    AND NOT EXISTS (SELECT 1 FROM objects AS o WHERE o.blob_nr = segments.blob_nr)
RETURNING key;

-- name: forget_empty_blobs
DELETE FROM blobs WHERE nr IN (SELECT value FROM json_each(?))
    AND NOT EXISTS (SELECT 1 FROM segments AS s WHERE s.blob_nr = blobs.nr)
    AND NOT EXISTS (SELECT 1 FROM objects AS o WHERE o.blob_nr = blobs.nr);

-- name: segments
SELECT s.key, s.size, c.blocks
FROM blobs AS b JOIN segments AS s ON s.blob_nr = b.nr JOIN checksums AS c ON c.nr = s.checksums_nr
WHERE b.id = ? AND b.state <> 'dying'
ORDER BY s.start;

-- name: segments_from
-- The segment that holds the byte is the last one that starts at it or before.
SELECT s.start, s.key, s.size, c.blocks
FROM blobs AS b JOIN segments AS s ON s.blob_nr = b.nr JOIN checksums AS c ON c.nr = s.checksums_nr
WHERE b.id = ?1 AND b.state <> 'dying'
    AND s.start >= (SELECT max(t.start) FROM segments AS t WHERE t.blob_nr = b.nr AND t.start <= ?2)
ORDER BY s.start
LIMIT ?3;

-- name: blocks
SELECT c.blocks FROM segments AS s JOIN checksums AS c ON c.nr = s.checksums_nr WHERE s.key = ?;

-- name: settle_blobs
-- Every loose blob is looked at once: still held makes it live again, held by nobody makes it dying.
-- (state <> 'live' is there so that the partial index is used.)
UPDATE blobs SET state = CASE
    WHEN EXISTS (SELECT 1 FROM objects AS o WHERE o.blob_nr = blobs.nr) THEN 'live'
    WHEN EXISTS (SELECT 1 FROM parts AS p WHERE p.blob_nr = blobs.nr) THEN 'live'
    ELSE 'dying' END
WHERE nr IN (SELECT nr FROM blobs WHERE state <> 'live' AND state = 'loose' LIMIT ?)
RETURNING state;

-- name: dying_blobs
SELECT b.id, s.key
FROM blobs AS b LEFT JOIN segments AS s ON s.blob_nr = b.nr
WHERE b.state <> 'live' AND b.state = 'dying'
ORDER BY b.nr, s.start;

-- name: forget_blob
DELETE FROM blobs WHERE id = ? AND state = 'dying';

-- name: known_keys
SELECT key FROM segments WHERE key IN (SELECT value FROM json_each(?));

-- name: held_blob
-- (The floor is there twice, here and in the index, so that the partial index is used. The newest blob first: when an
-- older one is damaged, its bytes were sent again.)
SELECT b.id FROM blobs AS b
WHERE b.sha256 = ?2 AND b.size = ?3 AND b.size >= 1048576 AND b.state <> 'dying'
    AND EXISTS (
        SELECT 1 FROM objects AS o
        WHERE o.blob_nr = b.nr AND o.account_id = ?1 AND o.state = 'live' AND (o.expires_at IS NULL OR o.expires_at > ?4)
    )
ORDER BY b.nr DESC LIMIT 1;

-- name: undigested
SELECT id FROM blobs WHERE sha256 IS NULL AND state <> 'dying' ORDER BY nr LIMIT ?;

-- name: set_digest
-- A dying blob shows no segments: who read it to its end saw none.
UPDATE blobs SET sha256 = ?2 WHERE id = ?1 AND sha256 IS NULL AND state <> 'dying';
