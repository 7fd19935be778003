-- A number that grows with every part of an upload, by which who follows the parts sees that there are new ones. It is
-- bumped in the transaction that adds the part, so it holds in a database where numbers are drawn before the commit too.
ALTER TABLE uploads ADD COLUMN parts_version INTEGER NOT NULL DEFAULT 0;
UPDATE uploads SET parts_version = (SELECT count(*) FROM parts AS p WHERE p.upload_id = uploads.id)
WHERE state = 'open' AND kind = 'multipart';
DROP INDEX parts_newest;

-- A storage has no handle of a multipart upload: parts are segments as all others.
ALTER TABLE uploads DROP COLUMN storage_id;
