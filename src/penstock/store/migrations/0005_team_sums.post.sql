-- Sums without keys and users, of what was used until now. Whoever writes calls after this adds to them, too: it is
-- for when no older release runs. Writers are kept out until it is done.

-- up
{own_dims};

CREATE TABLE usage_team_hours (
  hour {int} NOT NULL,
  dim {int} NOT NULL,
  calls {int} NOT NULL,
  failed {int} NOT NULL,
  streams {int} NOT NULL,
  attempts {int} NOT NULL,
  prompt_tokens {int} NOT NULL,
  cached_tokens {int} NOT NULL,
  cache_write_tokens {int} NOT NULL,
  completion_tokens {int} NOT NULL,
  reasoning_tokens {int} NOT NULL,
  images {int} NOT NULL,
  unpriced {int} NOT NULL,
  estimated {int} NOT NULL,
  answered {int} NOT NULL,
  ttft_us {int} NOT NULL,
  total_us {int} NOT NULL,
  queue_us {int} NOT NULL,
  cost_high {int} NOT NULL,
  cost_low {int} NOT NULL,
  PRIMARY KEY (hour, dim)
) {clustered_end};

CREATE TABLE usage_team_days (
  day {int} NOT NULL,
  dim {int} NOT NULL,
  calls {int} NOT NULL,
  failed {int} NOT NULL,
  streams {int} NOT NULL,
  attempts {int} NOT NULL,
  prompt_tokens {int} NOT NULL,
  cached_tokens {int} NOT NULL,
  cache_write_tokens {int} NOT NULL,
  completion_tokens {int} NOT NULL,
  reasoning_tokens {int} NOT NULL,
  images {int} NOT NULL,
  unpriced {int} NOT NULL,
  estimated {int} NOT NULL,
  answered {int} NOT NULL,
  ttft_us {int} NOT NULL,
  total_us {int} NOT NULL,
  queue_us {int} NOT NULL,
  cost_high {int} NOT NULL,
  cost_low {int} NOT NULL,
  PRIMARY KEY (day, dim)
) {clustered_end};

INSERT INTO usage_dims (key_id, team_id, user_id, route, model, deployment, provider, operation)
SELECT DISTINCT '', team_id, '', route, model, deployment, provider, operation FROM usage_dims WHERE 1 = 1
ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
ON CONFLICT DO NOTHING;

INSERT INTO usage_team_hours (hour, dim, calls, failed, streams, attempts, prompt_tokens, cached_tokens,
  cache_write_tokens, completion_tokens, reasoning_tokens, images, unpriced, estimated, answered, ttft_us, total_us,
  queue_us, cost_high, cost_low)
SELECT r.hour, t.id, SUM(r.calls), SUM(r.failed), SUM(r.streams), SUM(r.attempts), SUM(r.prompt_tokens),
  SUM(r.cached_tokens), SUM(r.cache_write_tokens), SUM(r.completion_tokens), SUM(r.reasoning_tokens), SUM(r.images),
  SUM(r.unpriced), SUM(r.estimated), SUM(r.answered), SUM(r.ttft_us), SUM(r.total_us), SUM(r.queue_us),
  SUM(r.cost_pico >> 32), SUM(r.cost_pico & 4294967295)
FROM usage_hours r
JOIN usage_dims d ON d.id = r.dim
JOIN usage_dims t ON t.key_id = '' AND t.user_id = '' AND t.team_id = d.team_id AND t.route = d.route
  AND t.model = d.model AND t.deployment = d.deployment AND t.provider = d.provider AND t.operation = d.operation
GROUP BY 1, 2;

INSERT INTO usage_team_days (day, dim, calls, failed, streams, attempts, prompt_tokens, cached_tokens,
  cache_write_tokens, completion_tokens, reasoning_tokens, images, unpriced, estimated, answered, ttft_us, total_us,
  queue_us, cost_high, cost_low)
SELECT r.day, t.id, SUM(r.calls), SUM(r.failed), SUM(r.streams), SUM(r.attempts), SUM(r.prompt_tokens),
  SUM(r.cached_tokens), SUM(r.cache_write_tokens), SUM(r.completion_tokens), SUM(r.reasoning_tokens), SUM(r.images),
  SUM(r.unpriced), SUM(r.estimated), SUM(r.answered), SUM(r.ttft_us), SUM(r.total_us), SUM(r.queue_us),
  SUM(r.cost_pico >> 32), SUM(r.cost_pico & 4294967295)
FROM usage_days r
JOIN usage_dims d ON d.id = r.dim
JOIN usage_dims t ON t.key_id = '' AND t.user_id = '' AND t.team_id = d.team_id AND t.route = d.route
  AND t.model = d.model AND t.deployment = d.deployment AND t.provider = d.provider AND t.operation = d.operation
GROUP BY 1, 2;

-- down
DROP TABLE usage_team_days;
DROP TABLE usage_team_hours;
