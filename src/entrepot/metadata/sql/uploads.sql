-- name: add_upload
INSERT INTO uploads (
    id, object_id, path, name, account_id, key_id, declared_type, lifecycle, request_id,
    kind, created_at, expires_at, state, storage_id, idempotency_key, fingerprint
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: open_uploads
SELECT count(*) FROM uploads WHERE account_id = ? AND state = 'open';

-- name: open_uploads_by_key
SELECT key_id, count(*) FROM uploads WHERE account_id = ? AND state = 'open' GROUP BY key_id;

-- name: list_open_uploads
SELECT id, object_id, path, name, account_id, key_id, declared_type, lifecycle, request_id,
    kind, created_at, expires_at, state, storage_id, idempotency_key, fingerprint, finish, finish_sha256
FROM uploads WHERE state = 'open' ORDER BY expires_at;

-- name: upload
SELECT id, object_id, path, name, account_id, key_id, declared_type, lifecycle, request_id,
    kind, created_at, expires_at, state, storage_id, idempotency_key, fingerprint, finish, finish_sha256
FROM uploads WHERE id = ?;

-- name: upload_of
SELECT id, object_id, path, name, account_id, key_id, declared_type, lifecycle, request_id,
    kind, created_at, expires_at, state, storage_id, idempotency_key, fingerprint, finish, finish_sha256
FROM uploads WHERE object_id = ?;

-- name: same_upload
SELECT id, object_id, path, name, account_id, key_id, declared_type, lifecycle, request_id,
    kind, created_at, expires_at, state, storage_id, idempotency_key, fingerprint, finish, finish_sha256
FROM uploads WHERE account_id = ? AND idempotency_key = ? AND state <> 'aborted';

-- name: upload_state
SELECT state, object_id FROM uploads WHERE id = ?;

-- name: end_upload
-- As long as its time is not over, a client may ask for its end again and must hear the same.
UPDATE uploads SET state = 'published', ended_at = max(?2, expires_at), finish = ?3, finish_sha256 = ?4
WHERE id = ?1 AND state = 'open';

-- name: abort_upload
-- The caller's clock is not here: an aborted upload counts as ended when its time would have been over.
UPDATE uploads SET state = 'aborted', ended_at = expires_at WHERE id = ? AND state = 'open';

-- name: expire_uploads
UPDATE uploads SET state = 'aborted', ended_at = expires_at
WHERE id IN (SELECT id FROM uploads WHERE state = 'open' AND expires_at <= ? ORDER BY expires_at LIMIT ?)
RETURNING id;

-- name: abort_revoked_upload
UPDATE uploads SET state = 'aborted', ended_at = expires_at
WHERE id = (
    SELECT u.id FROM keys AS k JOIN uploads AS u ON u.account_id = k.account_id AND u.key_id = k.id
    WHERE k.revoked_at IS NOT NULL AND u.state = 'open' LIMIT 1
)
RETURNING id;

-- name: forget_uploads
DELETE FROM uploads
WHERE id IN (SELECT id FROM uploads WHERE ended_at < ? ORDER BY ended_at LIMIT ?);

-- name: add_part
INSERT INTO parts (upload_id, number, etag, size, sha256, blob_nr, received_at) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: list_parts
SELECT p.upload_id, p.number, p.etag, p.size, p.sha256, b.id, p.received_at
FROM parts AS p JOIN blobs AS b ON b.nr = p.blob_nr
WHERE p.upload_id = ?
ORDER BY p.number, p.received_at, p.blob_nr;

-- name: forget_parts
DELETE FROM parts WHERE upload_id IN (SELECT value FROM json_each(?)) RETURNING blob_nr;

-- name: replace_part
DELETE FROM parts WHERE upload_id = ? AND number = ? AND etag = ?;

-- name: drop_old_attempts
-- All but the newest ?3 attempts at a part.
DELETE FROM parts WHERE blob_nr IN (
    SELECT blob_nr FROM parts WHERE upload_id = ?1 AND number = ?2
    ORDER BY received_at DESC, blob_nr DESC LIMIT -1 OFFSET ?3
);

-- name: segments_of_parts
SELECT b.id, s.start, s.key, s.size
FROM parts AS p JOIN blobs AS b ON b.nr = p.blob_nr JOIN segments AS s ON s.blob_nr = p.blob_nr
WHERE p.upload_id = ?;

-- name: growing_uploads
-- Blobs are numbered in the order in which they came.
SELECT id, (SELECT max(p.blob_nr) FROM parts AS p WHERE p.upload_id = u.id) FROM uploads AS u
WHERE state = 'open' AND kind = 'multipart';

-- name: note_digest
UPDATE uploads SET digest_of = ?2, digest = ?3 WHERE id = ?1;

-- name: whole_digest
SELECT digest FROM uploads WHERE id = ? AND digest_of = ?;
