-- The whole first schema. Times are epoch seconds (UTC), sizes bytes, digests raw bytes, ids and states text.
-- Sized for ten million objects: an object is a row in objects, blobs, segments and checksums each. Blobs have a
-- number that stays in this file, because it is written four times per object and is a fifth of the length of an id.

CREATE TABLE accounts (
    id TEXT PRIMARY KEY NOT NULL,
    nickname TEXT NOT NULL UNIQUE,
    created_at REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'suspended')),
    defaults TEXT  -- JSON of a lifecycle; NULL: says nothing
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id TEXT PRIMARY KEY NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    created_at REAL NOT NULL,
    revoked_at REAL,
    scope TEXT,
    expires_at REAL
) STRICT, WITHOUT ROWID;

-- 'live': may be read and linked. 'loose': so too, but somebody let go of it, so the sweep must look whether anybody
-- is left. 'dying': no reader and no link reaches it any more.
CREATE TABLE blobs (
    nr INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    sha256 BLOB,
    state TEXT NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'loose', 'dying'))
) STRICT;

CREATE INDEX blobs_undigested ON blobs (nr) WHERE sha256 IS NULL;

-- What an account holds is found by its digest. Small blobs, which are most, are not in it.
CREATE INDEX blobs_held ON blobs (sha256) WHERE size >= 1048576;

-- The sweep reads only what is on its way out, however many blobs live.
CREATE INDEX blobs_leaving ON blobs (state) WHERE state <> 'live';

-- The block checksums of a segment, apart from its place: to finish an upload moves thousands of segments to another
-- blob, and with 12 KiB in each row a terabyte would take seconds.
CREATE TABLE checksums (
    nr INTEGER PRIMARY KEY,
    size INTEGER NOT NULL CHECK (size > 0),  -- of the segment
    blocks BLOB NOT NULL CHECK (length(blocks) = 8 * ((size + 65535) / 65536))  -- XXH3-64 of each 64 KiB
) STRICT;

CREATE TABLE segments (
    blob_nr INTEGER NOT NULL REFERENCES blobs (nr) ON DELETE CASCADE,
    start INTEGER NOT NULL,  -- where in the blob its first byte is
    key TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL CHECK (size > 0),
    checksums_nr INTEGER NOT NULL,
    PRIMARY KEY (blob_nr, start)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER segment_goes AFTER DELETE ON segments
BEGIN
    DELETE FROM checksums WHERE nr = OLD.checksums_nr;
END;

-- A rowid table: rows of 200 to 300 bytes under random ids would make a deep tree and scattered inserts.
-- `blob_nr` is NULL once the object has let go of its bytes; `sha256` is kept here only from then on.
CREATE TABLE objects (
    id TEXT PRIMARY KEY NOT NULL,
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    blob_nr INTEGER REFERENCES blobs (nr),
    size INTEGER NOT NULL,
    sha256 BLOB,
    content_type TEXT NOT NULL,
    sniffed_type TEXT,
    inline INTEGER NOT NULL,
    acl TEXT,  -- JSON; NULL: public
    published_at REAL NOT NULL,
    expires_at REAL,
    state TEXT NOT NULL CHECK (state IN ('live', 'expired', 'deleted')),
    request_id TEXT,  -- of the source
    deleted_at REAL,
    pinned_until REAL,
    ended_at REAL
) STRICT;

CREATE INDEX objects_blob ON objects (blob_nr) WHERE blob_nr IS NOT NULL;
CREATE INDEX objects_due ON objects (expires_at) WHERE state = 'live' AND expires_at IS NOT NULL;
CREATE INDEX objects_ended ON objects (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE uploads (
    id TEXT PRIMARY KEY NOT NULL,
    object_id TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    key_id TEXT NOT NULL,
    declared_type TEXT,
    lifecycle TEXT,  -- JSON of what was asked for; NULL: nothing
    request_id TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('single', 'multipart')),
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'published', 'aborted')),
    storage_id TEXT,
    idempotency_key TEXT,
    fingerprint BLOB,
    digest_of BLOB,  -- which list of parts
    digest BLOB,  -- the SHA-256 of their bytes
    ended_at REAL
) STRICT;

CREATE UNIQUE INDEX uploads_idempotency ON uploads (account_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL AND state <> 'aborted';
CREATE INDEX uploads_due ON uploads (expires_at) WHERE state = 'open';
CREATE INDEX uploads_growing ON uploads (id) WHERE state = 'open' AND kind = 'multipart';
CREATE INDEX uploads_open ON uploads (account_id) WHERE state = 'open';
CREATE INDEX uploads_ended ON uploads (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE parts (
    upload_id TEXT NOT NULL REFERENCES uploads (id),
    number INTEGER NOT NULL,
    etag TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    blob_nr INTEGER NOT NULL UNIQUE REFERENCES blobs (nr),
    received_at REAL NOT NULL
) STRICT;

CREATE INDEX parts_upload ON parts (upload_id, number, received_at, blob_nr);
-- The keeper asks for the newest part of each upload ten times a second.
CREATE INDEX parts_newest ON parts (upload_id, blob_nr);

CREATE TABLE leases (
    name TEXT PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,
    until REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Facts of the whole home: 'store' is its id, 'swept_at' when the keeper last trusted the clock, 'clock_held' whether it
-- has doubts.
CREATE TABLE facts (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys that no row names: first seen when, and by which look last. Their bytes go after a time of grace.
CREATE TABLE orphans (
    key TEXT PRIMARY KEY NOT NULL,
    seen_at REAL NOT NULL,
    looked_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX orphans_seen ON orphans (looked_at, seen_at);

-- Bytes that an account holds: its objects that have bytes, and the parts of its open uploads. Kept by triggers, so no
-- write can forget to.
CREATE TABLE usage (
    account_id TEXT PRIMARY KEY NOT NULL REFERENCES accounts (id),
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER object_is_counted AFTER INSERT ON objects WHEN NEW.blob_nr IS NOT NULL
BEGIN
    INSERT INTO usage (account_id, bytes) VALUES (NEW.account_id, NEW.size)
    ON CONFLICT (account_id) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER object_is_uncounted AFTER UPDATE OF blob_nr ON objects
    WHEN OLD.blob_nr IS NOT NULL AND NEW.blob_nr IS NULL
BEGIN
    UPDATE usage SET bytes = bytes - OLD.size WHERE account_id = OLD.account_id;
END;

CREATE TRIGGER object_goes_uncounted AFTER DELETE ON objects WHEN OLD.blob_nr IS NOT NULL
BEGIN
    UPDATE usage SET bytes = bytes - OLD.size WHERE account_id = OLD.account_id;
END;

CREATE TRIGGER part_is_counted AFTER INSERT ON parts
BEGIN
    INSERT INTO usage (account_id, bytes) SELECT u.account_id, NEW.size FROM uploads AS u WHERE u.id = NEW.upload_id
    ON CONFLICT (account_id) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER part_is_uncounted AFTER DELETE ON parts
BEGIN
    UPDATE usage SET bytes = bytes - OLD.size
    WHERE account_id = (SELECT u.account_id FROM uploads AS u WHERE u.id = OLD.upload_id);
END;

-- Whoever lets go of a blob marks it, whatever statement it was: no write can forget to, so no blob is ever lost.
-- A mark is only a hint to look: what condemns a blob counts its holders in the same transaction.
CREATE TRIGGER object_lets_go AFTER UPDATE OF blob_nr ON objects
    WHEN OLD.blob_nr IS NOT NULL AND NEW.blob_nr IS NOT OLD.blob_nr
BEGIN
    UPDATE blobs SET state = 'loose' WHERE nr = OLD.blob_nr AND state = 'live';
END;

CREATE TRIGGER object_goes AFTER DELETE ON objects WHEN OLD.blob_nr IS NOT NULL
BEGIN
    UPDATE blobs SET state = 'loose' WHERE nr = OLD.blob_nr AND state = 'live';
END;

CREATE TRIGGER part_goes AFTER DELETE ON parts
BEGIN
    UPDATE blobs SET state = 'loose' WHERE nr = OLD.blob_nr AND state = 'live';
END;
