-- Background work of accounts. A running job has a lease named 'job <id>'; `attempts` numbers its runs. `payload` may hold
-- secrets, such as signed URLs, and is NULL once the job has ended.
CREATE TABLE jobs (
    nr INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    key_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    payload TEXT,  -- JSON, as all below
    target TEXT,
    checkpoint TEXT,
    result TEXT,
    error TEXT,
    waiter TEXT,  -- the process that waits for the end
    cancel INTEGER NOT NULL DEFAULT 0,  -- 1: its run is to end
    attempts INTEGER NOT NULL,
    not_before REAL NOT NULL,
    done INTEGER NOT NULL,  -- bytes
    total INTEGER,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL
) STRICT;

CREATE INDEX jobs_queued ON jobs (account_id, key_id, nr) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (account_id, key_id) WHERE state = 'running';
CREATE INDEX jobs_unfinished ON jobs (account_id) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_waited ON jobs (waiter)
    WHERE state IN ('queued', 'running') AND cancel = 0 AND waiter IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (updated_at) WHERE state IN ('done', 'failed', 'cancelled');
CREATE INDEX jobs_account ON jobs (account_id, nr);

CREATE INDEX leases_held ON leases (holder);
