-- name: object
SELECT o.id, o.path, o.name, o.account_id, coalesce(b.id, ''), o.size, coalesce(b.sha256, o.sha256),
    o.content_type, o.sniffed_type, o.inline, o.acl, o.published_at, o.expires_at, o.state, o.request_id
FROM objects AS o LEFT JOIN blobs AS b ON b.nr = o.blob_nr
WHERE o.id = ?;

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
