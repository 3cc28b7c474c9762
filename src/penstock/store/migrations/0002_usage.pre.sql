-- One row per call, clustered by time; what calls have in common is one row of usage_dims.

-- up
CREATE TABLE usage_dims (
  id {serial},
  key_id {text} NOT NULL,
  team_id {text} NOT NULL,
  user_id {text} NOT NULL,
  route {text} NOT NULL,
  model {text} NOT NULL,
  deployment {text} NOT NULL,
  provider {text} NOT NULL,
  operation {text} NOT NULL,
  UNIQUE (key_id, team_id, user_id, route, model, deployment, provider, operation)
) {table_end};

CREATE TABLE usage (
  time_us {int} NOT NULL,
  seq {int} NOT NULL,
  dim {int} NOT NULL,
  id {text} NOT NULL,
  status {int} NOT NULL,
  error {text} NOT NULL,
  is_stream {int} NOT NULL,
  attempts {int} NOT NULL,
  prompt_tokens {int} NOT NULL,
  cached_tokens {int} NOT NULL,
  cache_write_tokens {int} NOT NULL,
  completion_tokens {int} NOT NULL,
  reasoning_tokens {int} NOT NULL,
  images {int} NOT NULL,
  cost_pico {int},
  price_version {text} NOT NULL,
  is_estimated {int} NOT NULL,
  ttft_us {int},
  total_us {int} NOT NULL,
  queue_us {int} NOT NULL,
  dropped {text} NOT NULL,
  PRIMARY KEY (time_us, seq)
) {usage_end};

CREATE TABLE usage_hours (
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
  cost_pico {int} NOT NULL,
  unpriced {int} NOT NULL,
  estimated {int} NOT NULL,
  answered {int} NOT NULL,
  ttft_us {int} NOT NULL,
  total_us {int} NOT NULL,
  queue_us {int} NOT NULL,
  PRIMARY KEY (hour, dim)
) {clustered_end};

CREATE TABLE usage_days (
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
  cost_pico {int} NOT NULL,
  unpriced {int} NOT NULL,
  estimated {int} NOT NULL,
  answered {int} NOT NULL,
  ttft_us {int} NOT NULL,
  total_us {int} NOT NULL,
  queue_us {int} NOT NULL,
  PRIMARY KEY (day, dim)
) {clustered_end};

-- down
DROP TABLE usage_days;
DROP TABLE usage_hours;
DROP TABLE usage;
DROP TABLE usage_dims;
