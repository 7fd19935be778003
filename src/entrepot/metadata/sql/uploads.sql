-- name: list_open_uploads
SELECT id, object_id, path, name, account_id, key_id, declared_type, lifecycle, request_id,
    kind, created_at, expires_at, state, idempotency_key, fingerprint, finish, finish_sha256
FROM uploads WHERE state = 'open' ORDER BY expires_at;

-- name: upload
SELECT id, object_id, path, name, account_id, key_id, declared_type, lifecycle, request_id,
    kind, created_at, expires_at, state, idempotency_key, fingerprint, finish, finish_sha256
FROM uploads WHERE id = ?;

-- name: upload_of
SELECT id, object_id, path, name, account_id, key_id, declared_type, lifecycle, request_id,
    kind, created_at, expires_at, state, idempotency_key, fingerprint, finish, finish_sha256
FROM uploads WHERE object_id = ?;

-- name: same_upload
SELECT id, object_id, path, name, account_id, key_id, declared_type, lifecycle, request_id,
    kind, created_at, expires_at, state, idempotency_key, fingerprint, finish, finish_sha256
FROM uploads WHERE account_id = ? AND idempotency_key = ? AND state <> 'aborted';

-- name: list_parts
SELECT p.upload_id, p.number, p.etag, p.size, p.sha256, b.id, p.received_at
FROM parts AS p JOIN blobs AS b ON b.nr = p.blob_nr
WHERE p.upload_id = ?
ORDER BY p.number, p.received_at, p.blob_nr;

-- name: segments_of_parts
SELECT b.id, s.start, s.key, s.size
FROM parts AS p JOIN blobs AS b ON b.nr = p.blob_nr JOIN segments AS s ON s.blob_nr = p.blob_nr
WHERE p.upload_id = ?;

-- name: growing_uploads
SELECT id, parts_version FROM uploads WHERE state = 'open' AND kind = 'multipart' AND parts_version > 0;

-- name: note_digest
UPDATE uploads SET digest_of = ?2, digest = ?3 WHERE id = ?1;

-- name: whole_digest
SELECT digest FROM uploads WHERE id = ? AND digest_of = ?;
