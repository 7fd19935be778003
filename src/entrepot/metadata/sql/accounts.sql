-- name: add_account
INSERT INTO accounts (id, nickname, created_at, defaults, state) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: account
SELECT id, nickname, created_at, defaults, state FROM accounts WHERE id = ?;

-- name: usage
SELECT bytes FROM usage WHERE account_id = ?;

-- name: list_accounts
SELECT id, nickname, created_at, defaults, state FROM accounts ORDER BY created_at, id;

-- name: add_key
INSERT INTO keys (id, account_id, name, secret_hash, created_at, revoked_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: key
SELECT k.id, k.account_id, k.name, k.secret_hash, k.created_at, k.revoked_at, a.state
FROM keys AS k JOIN accounts AS a ON a.id = k.account_id
WHERE k.id = ?;

-- name: list_keys
SELECT k.id, k.account_id, k.name, k.secret_hash, k.created_at, k.revoked_at, a.state
FROM keys AS k JOIN accounts AS a ON a.id = k.account_id
ORDER BY k.created_at, k.id;

-- name: live_keys
SELECT id FROM keys WHERE account_id = ? AND revoked_at IS NULL;

-- name: ended_key
SELECT 1 FROM keys AS k JOIN accounts AS a ON a.id = k.account_id
WHERE k.id = ?1 AND (k.revoked_at IS NOT NULL OR k.expires_at <= ?2 OR a.state <> 'active');

-- name: revoke_key
UPDATE keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1;
