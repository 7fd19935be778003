-- name: add_object
INSERT INTO objects (
    id, path, name, account_id, blob_nr, size, content_type, sniffed_type, inline, acl,
    published_at, expires_at, state, request_id
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: has_object
SELECT 1 FROM objects WHERE id = ?;

-- name: add_blob
INSERT INTO blobs (id, size, sha256) VALUES (?, ?, ?) RETURNING nr;

-- name: blob
SELECT nr, state FROM blobs WHERE id = ?;

-- name: add_checksums
INSERT INTO checksums (size, blocks) VALUES (?, ?) RETURNING nr;

-- name: add_segment
INSERT INTO segments (blob_nr, start, key, size, checksums_nr) VALUES (?, ?, ?, ?, ?);

-- name: movable_segments
-- All in one statement, because a large upload has thousands: ?1 is a JSON array of [key, size]. Only those that a part
-- of this upload (?2) holds alone: any other would be taken from a living object.
SELECT s.key
FROM (SELECT value ->> 0 AS key, value ->> 1 AS size FROM json_each(?1)) AS wanted
JOIN segments AS s ON s.key = wanted.key AND s.size = wanted.size
WHERE EXISTS (SELECT 1 FROM parts AS p WHERE p.blob_nr = s.blob_nr AND p.upload_id = ?2)
    AND NOT EXISTS (SELECT 1 FROM objects AS o WHERE o.blob_nr = s.blob_nr);

-- name: move_segments
-- ?2 is a JSON array of [key, start].
UPDATE segments SET blob_nr = ?1, start = wanted.start
FROM (SELECT value ->> 0 AS key, value ->> 1 AS start FROM json_each(?2)) AS wanted
WHERE segments.key = wanted.key;

-- name: forget_empty_blobs
DELETE FROM blobs WHERE nr IN (SELECT value FROM json_each(?))
    AND NOT EXISTS (SELECT 1 FROM segments AS s WHERE s.blob_nr = blobs.nr)
    AND NOT EXISTS (SELECT 1 FROM objects AS o WHERE o.blob_nr = blobs.nr);
