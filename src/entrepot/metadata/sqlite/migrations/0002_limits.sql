-- Open uploads are counted for each key, and found by the key that began them.
DROP INDEX uploads_open;
CREATE INDEX uploads_open ON uploads (account_id, key_id) WHERE state = 'open';
CREATE INDEX keys_account ON keys (account_id) WHERE revoked_at IS NULL;

-- What an upload was published with, so that a repeated request is told from another one. NULL: not known.
ALTER TABLE uploads ADD COLUMN finish BLOB;  -- 32 bytes made of the arguments
ALTER TABLE uploads ADD COLUMN finish_sha256 BLOB;  -- the SHA-256 of the whole that was declared
