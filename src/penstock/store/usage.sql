-- Usage. A batch's rows and its sums are written in one transaction, so they never differ. {measures} and the
-- like are filled in from usage.py.

-- name: usage.exists
SELECT 1 AS value FROM usage WHERE time_us = :time_us AND seq = :seq;

-- name: usage.batch_dims
CREATE TEMP TABLE IF NOT EXISTS usage_batch_names (
  at {int}, key_id {text}, team_id {text}, user_id {text}, route {text},
  model {text}, deployment {text}, provider {text}, operation {text}
);

-- name: usage.empty_batch_dims
DELETE FROM usage_batch_names;

-- name: usage.batch_sums
CREATE TEMP TABLE IF NOT EXISTS usage_batch_sums (hour {int}, dim {int}, team_dim {int}, {measures});

-- name: usage.empty_batch_sums
DELETE FROM usage_batch_sums;

-- Two writers add dimensions and sums in the same order, so that they cannot wait for each other.

-- name: usage.hold_dims (postgres)
SELECT pg_advisory_xact_lock_shared(7262113);

-- name: usage.hold_dims (sqlite)
SELECT 1 AS value;

-- name: usage.find_dims
SELECT b.at, (
  SELECT d.id FROM usage_dims d
  WHERE d.key_id = b.key_id AND d.team_id = b.team_id AND d.user_id = b.user_id
    AND d.route = b.route AND d.model = b.model AND d.deployment = b.deployment
    AND d.provider = b.provider AND d.operation = b.operation
) AS id FROM usage_batch_names b;

-- name: usage.add_dims
INSERT INTO usage_dims ({dims})
SELECT {dims} FROM usage_batch_names WHERE 1 = 1 ORDER BY {dims}
ON CONFLICT DO NOTHING;

-- name: usage.add_sums
INSERT INTO {table} ({unit}, dim, {measures})
SELECT b.hour / {hours}, b.{dim}, {sums} FROM usage_batch_sums b GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT ({unit}, dim) DO UPDATE SET {additions};

-- name: usage.known_prices
SELECT version AS value FROM usage_prices;

-- name: usage.note_price
INSERT INTO usage_prices (version, price) VALUES (:version, :price) ON CONFLICT DO NOTHING;

-- name: usage.sum
SELECT {group}{sums} FROM {table} r{join}
WHERE r.{time} >= :start AND r.{time} < :stop{where}{group_by};

-- name: usage.oldest
SELECT time_us AS value FROM usage ORDER BY time_us LIMIT 1;

-- name: usage.newest
SELECT time_us AS value FROM usage ORDER BY time_us DESC LIMIT 1;

-- One look per hour and dimension at most, by the primary key: few hours of many are found in milliseconds.

-- name: usage.hours_of
WITH RECURSIVE wanted AS MATERIALIZED (SELECT d.id FROM usage_dims d WHERE {where}),
h (hour) AS (SELECT CAST(:start AS {int}) UNION ALL SELECT hour + 1 FROM h WHERE hour + 1 < :stop)
SELECT h.hour FROM h WHERE EXISTS (
  SELECT 1 FROM wanted w JOIN usage_hours r ON r.hour = h.hour AND r.dim = w.id WHERE r.failed >= :failed);

-- name: usage.hours_failed
SELECT DISTINCT hour FROM usage_hours WHERE hour >= :start AND hour < :stop AND failed >= :failed;

-- name: usage.calls
SELECT {columns} FROM usage r JOIN usage_dims d ON d.id = r.dim
LEFT JOIN usage_prices p ON p.version = r.price_version
WHERE r.time_us >= :start AND r.time_us < :stop AND (r.time_us, r.seq) < (:before_us, :before_seq){where}
ORDER BY r.time_us DESC, r.seq DESC
LIMIT :limit;

-- name: usage.total_calls
SELECT CAST(COALESCE(SUM(calls), 0) AS {int}) AS value FROM usage_days;


-- Other prices (rerate.py). A batch is loaded as above.

-- name: usage.next
SELECT {columns} FROM usage r JOIN usage_dims d ON d.id = r.dim
WHERE r.time_us >= :start AND r.time_us < :stop AND (r.time_us, r.seq) > (:after_us, :after_seq){where}
ORDER BY r.time_us, r.seq
LIMIT :limit;

-- name: usage.rerated
CREATE TEMP TABLE IF NOT EXISTS usage_rerated (
  time_us {int}, seq {int}, dim {int}, cost_pico {int}, price_version {text}, more_pico {int}, less_unpriced {int}
);

-- name: usage.empty_rerated
DELETE FROM usage_rerated;

-- name: usage.rerate
UPDATE usage SET cost_pico = b.cost_pico, price_version = b.price_version FROM usage_rerated b
WHERE usage.time_us >= :start AND usage.time_us <= :stop
  AND usage.time_us = b.time_us AND usage.seq = b.seq;

-- name: usage.rerate_sums
UPDATE {table} SET {additions}
FROM (SELECT r.time_us / {unit_us} AS unit, {dim} AS dim, {sums} FROM usage_rerated r{join} GROUP BY 1, 2) b
WHERE {table}.{unit} = b.unit AND {table}.dim = b.dim;


-- Retention.

-- name: usage.drop_some (sqlite)
DELETE FROM usage WHERE time_us < MIN(:before_us, COALESCE(
  (SELECT time_us FROM usage ORDER BY time_us LIMIT 1 OFFSET :at_most), :before_us))
RETURNING 1;

-- name: usage.days (postgres)
SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass('usage') ORDER BY c.relname;

-- name: usage.make_day (postgres)
CREATE TABLE IF NOT EXISTS {table} PARTITION OF usage FOR VALUES FROM ({start}) TO ({stop});

-- name: usage.hold_days (postgres)
SELECT pg_advisory_xact_lock(7262114);

-- name: usage.count_day (postgres)
SELECT COUNT(*) AS value FROM {table};

-- name: usage.drop_day (postgres)
DROP TABLE {table};

-- name: usage.drop_sums
DELETE FROM {table} WHERE {unit} < :before;

-- name: usage.own_dims (postgres)
SELECT pg_advisory_xact_lock(7262113);

-- name: usage.own_dims (sqlite)
SELECT 1 AS value;

-- Each hour is one of a day, so the days know all dimensions. They are read once, not once for each dimension.

-- name: usage.drop_dims
DELETE FROM usage_dims WHERE id NOT IN ({used});

-- name: usage.days_before
SELECT DISTINCT day AS value FROM usage_days WHERE day < :before ORDER BY day;
