-- The ledger. What the words mean is told in rows.py, windows.py and shared.py; the scripts for Redis do the same.
-- `entries` is [[limit, slice, amount, state], ...]; state: r reserved, x expired, g the slot of an expired lease,
-- given back. `due_us` is when the lease expires, or when an expired one is forgotten. `is_over`: it was settled
-- for good; what was asked for it before and comes late is refused.
--
-- A function first locks its scopes, in the order of their hashes, and reads the clock after that. So no two
-- calls can wait for each other, and what one of them reads nobody changes before it is done.

CREATE TABLE IF NOT EXISTS ledger_counts (
    scope text NOT NULL,
    limit_key text NOT NULL,
    slice bigint NOT NULL,
    used numeric NOT NULL DEFAULT 0,
    reserved numeric NOT NULL DEFAULT 0,
    expired numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, limit_key, slice)
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS ledger_leases (
    scope text NOT NULL,
    lease text NOT NULL,
    due_us bigint NOT NULL,
    is_expired boolean NOT NULL,
    is_over boolean NOT NULL DEFAULT false,
    entries jsonb NOT NULL,
    PRIMARY KEY (scope, lease)
);

CREATE INDEX IF NOT EXISTS ledger_leases_due ON ledger_leases (scope, due_us);

CREATE OR REPLACE FUNCTION ledger_now_us() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

CREATE OR REPLACE FUNCTION ledger_slice(length text, at_us bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE length
        WHEN 'day' THEN at_us / 86400000000
        WHEN 'week' THEN (at_us / 86400000000 + 3) / 7
        WHEN 'month' THEN (
            extract(year FROM to_timestamp(at_us / 1000000) AT TIME ZONE 'UTC') * 12
            + extract(month FROM to_timestamp(at_us / 1000000) AT TIME ZONE 'UTC') - 1
        )::bigint
        WHEN 'total' THEN 0
        WHEN '' THEN 0
        ELSE at_us / (length::bigint * 1000000 / 32)
    END
$$;

CREATE OR REPLACE FUNCTION ledger_reach(length text) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN length IN ('day', 'week', 'month', 'total', '') THEN 0 ELSE 32 END
$$;

CREATE OR REPLACE FUNCTION ledger_lock(scopes text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    key integer;
BEGIN
    FOR key IN SELECT DISTINCT hashtext(name) FROM unnest(scopes) AS name ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock(1886678900, key); -- "pens"
    END LOOP;
    RETURN ledger_now_us();
END
$$;

-- Drops what counts no more; returns the running slice, which never goes back.
CREATE OR REPLACE FUNCTION ledger_roll(of_scope text, key text, length text, now_us bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    running bigint;
BEGIN
    SELECT greatest(ledger_slice(length, now_us), max(slice)) INTO running
    FROM ledger_counts WHERE scope = of_scope AND limit_key = key;
    DELETE FROM ledger_counts
    WHERE scope = of_scope AND limit_key = key AND slice < running - ledger_reach(length);
    RETURN running;
END
$$;

CREATE OR REPLACE FUNCTION ledger_change(
    of_scope text, key text, at_slice bigint, more_used numeric, more_reserved numeric, more_expired numeric
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO ledger_counts AS c (scope, limit_key, slice, used, reserved, expired)
    VALUES (of_scope, key, at_slice, greatest(0, more_used), greatest(0, more_reserved), greatest(0, more_expired))
    ON CONFLICT (scope, limit_key, slice) DO UPDATE SET
        used = greatest(0, c.used + more_used),
        reserved = greatest(0, c.reserved + more_reserved),
        expired = greatest(0, c.expired + more_expired)
$$;

CREATE OR REPLACE FUNCTION ledger_expire(of_scope text, now_us bigint, kept_us bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one record;
    entry jsonb;
BEGIN
    FOR one IN SELECT lease, entries FROM ledger_leases
        WHERE scope = of_scope AND due_us <= now_us AND NOT is_expired
    LOOP
        FOR entry IN SELECT value FROM jsonb_array_elements(one.entries) WHERE value->>3 = 'r' LOOP
            UPDATE ledger_counts SET
                reserved = greatest(0, reserved - (entry->>2)::numeric),
                used = used + CASE entry->>0 WHEN 'concurrency' THEN 0 ELSE (entry->>2)::numeric END,
                expired = expired + CASE entry->>0 WHEN 'concurrency' THEN 0 ELSE (entry->>2)::numeric END
            WHERE scope = of_scope AND limit_key = entry->>0 AND slice = (entry->>1)::bigint;
        END LOOP;
        UPDATE ledger_leases SET
            is_expired = true,
            due_us = due_us + kept_us,
            entries = coalesce((
                SELECT jsonb_agg(
                    CASE
                        WHEN value->>3 <> 'r' THEN value
                        WHEN value->>0 = 'concurrency' THEN jsonb_set(value, '{3}', '"g"')
                        ELSE jsonb_set(value, '{3}', '"x"')
                    END ORDER BY ordinality
                ) FROM jsonb_array_elements(one.entries) WITH ORDINALITY
            ), '[]')
        WHERE scope = of_scope AND lease = one.lease;
    END LOOP;
    DELETE FROM ledger_leases WHERE scope = of_scope AND due_us <= now_us AND is_expired;
END
$$;

-- Whether the scope knows the lease; one that had expired takes its slot again, whoever has it: its call runs.
CREATE OR REPLACE FUNCTION ledger_prolong(of_scope text, of_lease text, until_us bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    found_entries jsonb;
    entry jsonb;
BEGIN
    SELECT entries INTO found_entries FROM ledger_leases
    WHERE scope = of_scope AND lease = of_lease AND NOT is_over;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    FOR entry IN SELECT value FROM jsonb_array_elements(found_entries) WHERE value->>3 = 'g' LOOP
        PERFORM ledger_change(of_scope, entry->>0, (entry->>1)::bigint, 0, (entry->>2)::numeric, 0);
    END LOOP;
    UPDATE ledger_leases SET
        due_us = until_us,
        is_expired = false,
        entries = coalesce((
            SELECT jsonb_agg(
                CASE value->>3 WHEN 'g' THEN jsonb_set(value, '{3}', '"r"') ELSE value END ORDER BY ordinality
            ) FROM jsonb_array_elements(found_entries) WITH ORDINALITY
        ), '[]')
    WHERE scope = of_scope AND lease = of_lease;
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION ledger_slices(of_scope text, key text) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_array(slice, used, reserved, expired) ORDER BY slice), '[]')
    FROM ledger_counts WHERE scope = of_scope AND limit_key = key
$$;

CREATE OR REPLACE FUNCTION ledger_is_over(of_lease text, claims jsonb) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM ledger_leases
        WHERE scope IN (SELECT value->>0 FROM jsonb_array_elements(claims)) AND lease = of_lease AND is_over)
$$;

-- claims: [[scope, [[resource, window, key, amount], ...]], ...]. Returns [now, true, [[total, slice], ...]] for
-- each limit but concurrency, or [now, false, [[claim, limit, slices], ...]] for each that stands in the way. None
-- does when the lease is over: nobody waits for this answer.
CREATE OR REPLACE FUNCTION ledger_hold(of_lease text, ttl_us bigint, kept_us bigint, cost jsonb, claims jsonb)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    now_us bigint := ledger_lock(ARRAY(SELECT value->>0 FROM jsonb_array_elements(claims)));
    claim record;
    lim record;
    is_held boolean;
    amount numeric;
    total numeric;
    running bigint;
    entries jsonb;
    plan jsonb := '[]';
    totals jsonb := '[]';
    standing jsonb := '[]';
BEGIN
    IF ledger_is_over(of_lease, claims) THEN
        RETURN jsonb_build_array(now_us, false, standing);
    END IF;
    FOR claim IN
        SELECT ordinality - 1 AS number, value->>0 AS scope, value->1 AS limits
        FROM jsonb_array_elements(claims) WITH ORDINALITY
    LOOP
        PERFORM ledger_expire(claim.scope, now_us, kept_us);
        is_held := ledger_prolong(claim.scope, of_lease, now_us + ttl_us);
        entries := '[]';
        FOR lim IN
            SELECT ordinality - 1 AS number, value->>0 AS resource, value->>1 AS length, value->>2 AS key,
                (value->>3)::numeric AS most
            FROM jsonb_array_elements(claim.limits) WITH ORDINALITY
        LOOP
            running := ledger_roll(claim.scope, lim.key, lim.length, now_us);
            amount := CASE
                WHEN lim.resource <> 'concurrency' THEN (cost->>lim.resource)::numeric
                WHEN is_held THEN 0
                ELSE 1
            END;
            SELECT coalesce(sum(used + reserved), 0) INTO total
            FROM ledger_counts WHERE scope = claim.scope AND limit_key = lim.key;
            IF amount > 0 AND total + amount > lim.most THEN
                standing := standing || jsonb_build_array(
                    jsonb_build_array(claim.number, lim.number, ledger_slices(claim.scope, lim.key)));
            ELSIF amount > 0 THEN
                entries := entries || jsonb_build_array(jsonb_build_array(lim.key, running, amount, 'r'));
            END IF;
            IF lim.resource <> 'concurrency' THEN
                totals := totals || jsonb_build_array(jsonb_build_array(total + amount, running));
            END IF;
        END LOOP;
        plan := plan || jsonb_build_array(jsonb_build_array(claim.scope, entries));
    END LOOP;
    IF standing <> '[]' THEN
        RETURN jsonb_build_array(now_us, false, standing);
    END IF;
    PERFORM ledger_change(one->>0, entry->>0, (entry->>1)::bigint, 0, (entry->>2)::numeric, 0)
    FROM jsonb_array_elements(plan) AS one, jsonb_array_elements(one->1) AS entry;
    INSERT INTO ledger_leases AS l (scope, lease, due_us, is_expired, entries)
    SELECT one->>0, of_lease, now_us + ttl_us, false, one->1 FROM jsonb_array_elements(plan) AS one
    ON CONFLICT (scope, lease) DO UPDATE SET entries = l.entries || excluded.entries;
    RETURN jsonb_build_array(now_us, true, totals);
END
$$;

CREATE OR REPLACE FUNCTION ledger_settle(
    of_scope text, key text, length text, running bigint, actual numeric, entries jsonb
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    remains numeric := actual;
    entry record;
    counts boolean;
    taken numeric;
BEGIN
    FOR entry IN
        SELECT (value->>1)::bigint AS slice, (value->>2)::numeric AS amount, value->>3 AS state,
            row_number() OVER (ORDER BY ordinality) = count(*) OVER () AS is_last
        FROM jsonb_array_elements(entries) WITH ORDINALITY
        WHERE value->>0 = key AND value->>3 <> 'g' ORDER BY ordinality
    LOOP
        counts := EXISTS (
            SELECT FROM ledger_counts WHERE scope = of_scope AND limit_key = key AND slice = entry.slice);
        taken := CASE WHEN counts AND entry.is_last THEN remains ELSE least(remains, entry.amount) END;
        remains := remains - taken;
        IF counts AND entry.state = 'x' THEN
            PERFORM ledger_change(of_scope, key, entry.slice, taken - entry.amount, 0, -entry.amount);
        ELSIF counts THEN
            PERFORM ledger_change(of_scope, key, entry.slice, taken, -entry.amount, 0);
        END IF;
    END LOOP;
    IF remains > 0 THEN
        PERFORM ledger_change(of_scope, key, running, remains, 0, 0);
    END IF;
END
$$;

-- false, and nothing is booked, when no scope knows the lease and that was not known. Where one knows it, this
-- is the first time that it is settled: a scope that does not has lost it, and all is booked there.
-- seal: whether it is over after that: 0 no, 1 when it is settled, 2 also when it is unknown.
CREATE OR REPLACE FUNCTION ledger_end(
    of_lease text, is_unknown boolean, seal integer, kept_us bigint, actual jsonb, claims jsonb
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    scopes text[] := ARRAY(SELECT value->>0 FROM jsonb_array_elements(claims));
    now_us bigint := ledger_lock(scopes);
    is_due boolean;
    claim jsonb;
    lim jsonb;
    held jsonb;
BEGIN
    PERFORM ledger_expire(name, now_us, kept_us) FROM unnest(scopes) AS name;
    IF ledger_is_over(of_lease, claims) THEN
        RETURN true;
    END IF;
    is_due := is_unknown OR EXISTS (SELECT FROM ledger_leases WHERE scope = ANY(scopes) AND lease = of_lease);
    FOR claim IN SELECT value FROM jsonb_array_elements(claims) WHERE is_due LOOP
        DELETE FROM ledger_leases WHERE scope = claim->>0 AND lease = of_lease RETURNING entries INTO held;
        FOR lim IN SELECT value FROM jsonb_array_elements(claim->1) LOOP
            PERFORM ledger_settle(
                claim->>0, lim->>2, lim->>1, ledger_roll(claim->>0, lim->>2, lim->>1, now_us),
                coalesce((actual->>(lim->>0))::numeric, 0), coalesce(held, '[]'));
        END LOOP;
    END LOOP;
    IF seal = 2 OR (seal = 1 AND is_due) THEN
        INSERT INTO ledger_leases (scope, lease, due_us, is_expired, is_over, entries)
        SELECT name, of_lease, now_us + kept_us, true, true, '[]' FROM unnest(scopes) AS name;
    END IF;
    RETURN is_due;
END
$$;

-- leases: [[lease, ttl_us, [scope, ...]], ...]
CREATE OR REPLACE FUNCTION ledger_heartbeat(kept_us bigint, leases jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    names text[] := ARRAY(
        SELECT DISTINCT jsonb_array_elements_text(value->2) FROM jsonb_array_elements(leases));
    now_us bigint := ledger_lock(names);
BEGIN
    PERFORM ledger_expire(name, now_us, kept_us) FROM unnest(names) AS name;
    PERFORM ledger_prolong(name, one->>0, now_us + (one->>1)::bigint)
    FROM jsonb_array_elements(leases) AS one, jsonb_array_elements_text(one->2) AS name;
END
$$;

-- The slices of each limit, in order.
CREATE OR REPLACE FUNCTION ledger_report(kept_us bigint, claims jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    now_us bigint := ledger_lock(ARRAY(SELECT value->>0 FROM jsonb_array_elements(claims)));
    claim jsonb;
    lim jsonb;
    told jsonb := '[]';
BEGIN
    FOR claim IN SELECT value FROM jsonb_array_elements(claims) LOOP
        PERFORM ledger_expire(claim->>0, now_us, kept_us);
        FOR lim IN SELECT value FROM jsonb_array_elements(claim->1) LOOP
            PERFORM ledger_roll(claim->>0, lim->>2, lim->>1, now_us);
            told := told || jsonb_build_array(ledger_slices(claim->>0, lim->>2));
        END LOOP;
    END LOOP;
    RETURN told;
END
$$;

CREATE OR REPLACE FUNCTION ledger_is_past(key text, at_slice bigint, now_us bigint)
RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT at_slice < ledger_slice(split_part(key, '/', 2), now_us) - ledger_reach(split_part(key, '/', 2))
$$;

-- Drops what counts no more of the next scopes after one, in their order; returns the last of them, or NULL when
-- there are no more. It never waits for a scope: one that is locked is asked for.
CREATE OR REPLACE FUNCTION ledger_tidy(kept_us bigint, after_scope text, most integer)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    now_us bigint := ledger_now_us();
    one text;
    last text;
    seen integer := 0;
BEGIN
    FOR one IN
        (SELECT DISTINCT scope FROM ledger_counts WHERE scope > after_scope ORDER BY scope LIMIT most)
        UNION
        (SELECT DISTINCT scope FROM ledger_leases WHERE scope > after_scope ORDER BY scope LIMIT most)
        ORDER BY scope LIMIT most
    LOOP
        last := one;
        seen := seen + 1;
        IF (
            EXISTS (SELECT FROM ledger_leases WHERE scope = one AND due_us <= now_us)
            OR EXISTS (
                SELECT FROM ledger_counts
                WHERE scope = one AND (ledger_is_past(limit_key, slice, now_us) OR (used = 0 AND reserved = 0)))
        ) AND pg_try_advisory_xact_lock(1886678900, hashtext(one)) THEN
            PERFORM ledger_expire(one, now_us, kept_us);
            DELETE FROM ledger_counts
            WHERE scope = one AND (ledger_is_past(limit_key, slice, now_us) OR (used = 0 AND reserved = 0));
        END IF;
    END LOOP;
    RETURN CASE WHEN seen = most THEN last END;
END
$$;
