-- The ledger. Amounts are decimal text: they reach 2^63, and SQLite's integers do not.
-- `entries` is JSON: [[limit, slice, amount, state], ...]; state: r reserved, x expired, g the slot of an expired
-- lease, given back. `due_us` is when the lease expires, or when an expired one is forgotten. `is_over`: it was
-- settled for good; what was asked for it before and comes late is refused.

CREATE TABLE IF NOT EXISTS ledger_counts (
    scope TEXT NOT NULL,
    limit_key TEXT NOT NULL,
    slice INTEGER NOT NULL,
    used TEXT NOT NULL,
    reserved TEXT NOT NULL,
    expired TEXT NOT NULL,
    PRIMARY KEY (scope, limit_key, slice)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS ledger_leases (
    scope TEXT NOT NULL,
    lease TEXT NOT NULL,
    due_us INTEGER NOT NULL,
    is_expired INTEGER NOT NULL,
    is_over INTEGER NOT NULL,
    entries TEXT NOT NULL,
    PRIMARY KEY (scope, lease)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS ledger_leases_due ON ledger_leases (scope, due_us);

-- What a ledger in memory promised (memory.py). `period` is the number of a slice.
CREATE TABLE IF NOT EXISTS ledger_blocks (
    scope TEXT NOT NULL,
    limit_key TEXT NOT NULL,
    period INTEGER NOT NULL,
    amount TEXT NOT NULL,
    PRIMARY KEY (scope, limit_key)
) WITHOUT ROWID;
