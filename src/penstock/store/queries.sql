-- Entities. Tables and columns are filled in from rows.py.

-- name: entity.get
SELECT {columns} FROM {table} WHERE id = :id;

-- name: entity.find
SELECT {columns} FROM {table} WHERE {where};

-- name: entity.list
SELECT {columns} FROM {table}
WHERE (created, id) > (:after_created, :after_id){where}
ORDER BY created, id
LIMIT :limit;

-- name: entity.insert
INSERT INTO {table} ({columns}) VALUES ({values});

-- name: entity.update
UPDATE {table} SET {assignments} WHERE id = :id;

-- name: entity.delete
DELETE FROM {table} WHERE id = :id;

-- name: entity.count
SELECT COUNT(*) AS value FROM {table};


-- Revisions. The update holds the row until the transaction ends, so changes happen one after the other.

-- name: revision.get
SELECT value FROM revision;

-- name: revision.next (sqlite)
UPDATE revision SET value = value + 1 RETURNING value;

-- name: revision.next (postgres)
WITH next AS (UPDATE revision SET value = value + 1 RETURNING value)
SELECT value, pg_notify('penstock_revision', CAST(value AS TEXT)) FROM next;

-- name: revision.raise
UPDATE revision SET value = :value WHERE value < :value;

-- name: changes.insert
INSERT INTO changes (revision, seq, time, actor, path, old, new)
VALUES (:revision, :seq, :time, :actor, :path, :old, :new);

-- name: changes.list
SELECT revision, seq, time, actor, path, old, new FROM changes
WHERE (revision, seq) < (:before_revision, :before_seq)
  AND substr(path, 1, length(CAST(:path AS TEXT))) = :path{where}
ORDER BY revision DESC, seq DESC
LIMIT :limit;


-- Terms of teams (terms.py).

-- name: terms.list
SELECT team, since, markup, allowance FROM team_terms WHERE since < :before{where} ORDER BY team, since;

-- name: terms.last
SELECT since, markup, allowance FROM team_terms WHERE team = :team ORDER BY since DESC LIMIT 1;

-- name: terms.unnoted
SELECT t.id AS team, t.markup, t.allowance FROM teams t
LEFT JOIN team_terms l
  ON l.team = t.id AND l.since = (SELECT MAX(m.since) FROM team_terms m WHERE m.team = t.id)
WHERE l.team IS NULL OR l.markup <> t.markup OR l.allowance <> t.allowance
ORDER BY t.id;

-- name: terms.hold (sqlite)
SELECT 1 AS value;

-- name: terms.hold (postgres)
SELECT pg_advisory_xact_lock(7262115);

-- name: terms.note
INSERT INTO team_terms (team, since, markup, allowance) VALUES (:team, :since, :markup, :allowance)
ON CONFLICT (team, since) DO UPDATE SET markup = excluded.markup, allowance = excluded.allowance;


-- Leases. One that has ended stays as a row, so that its token goes on rising.

-- name: lease.acquire
INSERT INTO leases (name, holder, expires, token) VALUES (:name, :holder, {now} + :ttl_s, 1)
ON CONFLICT (name) DO UPDATE SET
  holder = excluded.holder,
  expires = excluded.expires,
  token = CASE WHEN leases.holder = excluded.holder AND leases.expires > {now}
    THEN leases.token ELSE leases.token + 1 END
WHERE leases.holder = excluded.holder OR leases.expires <= {now}
RETURNING name, holder, expires, token;

-- name: lease.any
SELECT 1 AS value FROM leases WHERE expires > {now} LIMIT 1;

-- name: lease.renew
UPDATE leases SET expires = {now} + :ttl_s
WHERE name = :name AND token = :token AND expires > {now}
RETURNING name, holder, expires, token;

-- name: lease.release
UPDATE leases SET expires = 0 WHERE name = :name AND token = :token;


-- The schema itself.

-- name: schema.make
CREATE TABLE IF NOT EXISTS schema_migrations (
  position {int} PRIMARY KEY,
  number {int} NOT NULL UNIQUE,
  name {text} NOT NULL,
  phase {text} NOT NULL,
  checksum {text} NOT NULL
) {table_end};

-- name: schema.hold (sqlite)
SELECT 1 AS value;

-- name: schema.hold (postgres)
SELECT pg_advisory_xact_lock(7262112);

-- name: schema.exists (sqlite)
SELECT 1 AS value FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations';

-- name: schema.exists (postgres)
SELECT 1 AS value WHERE to_regclass('schema_migrations') IS NOT NULL;

-- name: schema.has_table (sqlite)
SELECT 1 AS value FROM sqlite_master WHERE type = 'table' AND name = :table;

-- name: schema.has_table (postgres)
SELECT 1 AS value WHERE to_regclass(:table) IS NOT NULL;

-- name: schema.list
SELECT number, name, phase, checksum FROM schema_migrations ORDER BY position;

-- name: schema.add
INSERT INTO schema_migrations (position, number, name, phase, checksum)
SELECT COALESCE(MAX(position), 0) + 1, :number, :name, :phase, :checksum FROM schema_migrations;

-- name: schema.remove
DELETE FROM schema_migrations WHERE number = :number;

-- name: schema.size (sqlite)
SELECT page_count * page_size AS value FROM pragma_page_count, pragma_page_size;

-- name: schema.size (postgres)
SELECT pg_database_size(current_database()) AS value;


-- Copies (dump.py).

-- name: copy.first
SELECT * FROM {table} ORDER BY {order} LIMIT :limit;

-- name: copy.next
SELECT * FROM {table} WHERE ({order}) > ({last}) ORDER BY {order} LIMIT :limit;

-- name: copy.any
SELECT 1 AS value FROM {table} LIMIT 1;

-- name: copy.serial (sqlite)
SELECT 1 AS value;

-- name: copy.serial (postgres)
SELECT setval(pg_get_serial_sequence('usage_dims', 'id'), COALESCE(MAX(id), 0) + 1, false) FROM usage_dims;
