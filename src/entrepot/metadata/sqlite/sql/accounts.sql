-- name: account_ids
-- Ids after nicknames, so that nobody takes another's id as a nickname to stand in for them.
SELECT nickname, id FROM accounts WHERE nickname IN (SELECT value FROM json_each(?1))
UNION ALL
SELECT id, id FROM accounts WHERE id IN (SELECT value FROM json_each(?1));
