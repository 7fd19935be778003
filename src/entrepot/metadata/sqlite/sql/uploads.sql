-- name: add_upload
INSERT INTO uploads (
    id, object_id, path, name, account_id, key_id, declared_type, lifecycle, request_id,
    kind, created_at, expires_at, state, idempotency_key, fingerprint
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: open_uploads
SELECT count(*) FROM uploads WHERE account_id = ? AND state = 'open';

-- name: open_uploads_by_key
SELECT key_id, count(*) FROM uploads WHERE account_id = ? AND state = 'open' GROUP BY key_id;

-- name: upload_state
SELECT state, object_id FROM uploads WHERE id = ?;

-- name: end_upload
-- As long as its time is not over, a client may ask for its end again and must hear the same.
UPDATE uploads SET state = 'published', ended_at = max(?2, expires_at), finish = ?3, finish_sha256 = ?4
WHERE id = ?1 AND state = 'open';

-- name: end_open_upload
-- The caller's clock is not here: an aborted upload counts as ended when its time would have been over.
UPDATE uploads SET state = 'aborted', ended_at = expires_at WHERE id = ? AND state = 'open';

-- name: end_due_upload
UPDATE uploads SET state = 'aborted', ended_at = expires_at
WHERE id = (SELECT id FROM uploads WHERE state = 'open' AND expires_at <= ? ORDER BY expires_at LIMIT 1)
RETURNING id;

-- name: end_revoked_upload
UPDATE uploads SET state = 'aborted', ended_at = expires_at
WHERE id = (
    SELECT u.id FROM keys AS k JOIN uploads AS u ON u.account_id = k.account_id AND u.key_id = k.id
    WHERE k.revoked_at IS NOT NULL AND u.state = 'open' LIMIT 1
)
RETURNING id;

-- name: bump_parts_version
UPDATE uploads SET parts_version = parts_version + 1 WHERE id = ?;

-- name: add_part_row
INSERT INTO parts (upload_id, number, etag, size, sha256, blob_nr, received_at) VALUES (?, ?, ?, ?, ?, ?, ?);

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
