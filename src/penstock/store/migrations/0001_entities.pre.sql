-- up
CREATE TABLE revision (value {int} NOT NULL) {table_end};
INSERT INTO revision (value) VALUES (0);

CREATE TABLE changes (
  revision {int} NOT NULL,
  seq {int} NOT NULL,
  time {int} NOT NULL,
  actor {text} NOT NULL,
  path {text} NOT NULL,
  old {text},
  new {text},
  PRIMARY KEY (revision, seq)
) {clustered_end};

CREATE TABLE leases (
  name {text} NOT NULL PRIMARY KEY,
  holder {text} NOT NULL,
  expires {real} NOT NULL,
  token {int} NOT NULL
) {table_end};

CREATE TABLE teams (
  id {text} NOT NULL PRIMARY KEY,
  created {int} NOT NULL,
  created_by {text} NOT NULL,
  version {int} NOT NULL,
  name {text} NOT NULL UNIQUE,
  limits {text} NOT NULL,
  budget {text} NOT NULL
) {table_end};
CREATE INDEX teams_created ON teams (created, id);

CREATE TABLE users (
  id {text} NOT NULL PRIMARY KEY,
  created {int} NOT NULL,
  created_by {text} NOT NULL,
  version {int} NOT NULL,
  email {text} NOT NULL UNIQUE,
  name {text} NOT NULL,
  role {text} NOT NULL,
  limits {text} NOT NULL,
  budget {text} NOT NULL,
  disabled {int}
) {table_end};
CREATE INDEX users_created ON users (created, id);

CREATE TABLE memberships (
  id {text} NOT NULL PRIMARY KEY,
  created {int} NOT NULL,
  created_by {text} NOT NULL,
  version {int} NOT NULL,
  team_id {text} NOT NULL REFERENCES teams (id),
  user_id {text} NOT NULL REFERENCES users (id),
  role {text} NOT NULL,
  UNIQUE (team_id, user_id)
) {table_end};
CREATE INDEX memberships_created ON memberships (created, id);
CREATE INDEX memberships_user ON memberships (user_id);

CREATE TABLE service_accounts (
  id {text} NOT NULL PRIMARY KEY,
  created {int} NOT NULL,
  created_by {text} NOT NULL,
  version {int} NOT NULL,
  name {text} NOT NULL UNIQUE,
  team_id {text} REFERENCES teams (id),
  role {text} NOT NULL,
  disabled {int}
) {table_end};
CREATE INDEX service_accounts_created ON service_accounts (created, id);
CREATE INDEX service_accounts_team ON service_accounts (team_id);

CREATE TABLE keys (
  id {text} NOT NULL PRIMARY KEY,
  created {int} NOT NULL,
  created_by {text} NOT NULL,
  version {int} NOT NULL,
  name {text} NOT NULL,
  hash {text} NOT NULL UNIQUE,
  prefix {text} NOT NULL,
  team_id {text} REFERENCES teams (id),
  user_id {text} REFERENCES users (id),
  account_id {text} REFERENCES service_accounts (id),
  role {text} NOT NULL,
  priority {text} NOT NULL,
  routes {text},
  networks {text} NOT NULL,
  limits {text} NOT NULL,
  budget {text} NOT NULL,
  expires {int},
  revoked {int},
  old_hash {text},
  overlap_ends {int}
) {table_end};
CREATE INDEX keys_created ON keys (created, id);
CREATE INDEX keys_team ON keys (team_id);
CREATE INDEX keys_user ON keys (user_id);
CREATE INDEX keys_account ON keys (account_id);

CREATE TABLE routes (
  id {text} NOT NULL PRIMARY KEY,
  created {int} NOT NULL,
  created_by {text} NOT NULL,
  version {int} NOT NULL,
  body {text} NOT NULL
) {table_end};
CREATE INDEX routes_created ON routes (created, id);

CREATE TABLE webhooks (
  id {text} NOT NULL PRIMARY KEY,
  created {int} NOT NULL,
  created_by {text} NOT NULL,
  version {int} NOT NULL,
  url {text} NOT NULL,
  events {text} NOT NULL,
  secret {text} NOT NULL,
  team_id {text} REFERENCES teams (id),
  disabled {int}
) {table_end};
CREATE INDEX webhooks_created ON webhooks (created, id);
CREATE INDEX webhooks_team ON webhooks (team_id);

-- down
DROP TABLE webhooks;
DROP TABLE routes;
DROP TABLE keys;
DROP TABLE service_accounts;
DROP TABLE memberships;
DROP TABLE users;
DROP TABLE teams;
DROP TABLE leases;
DROP TABLE changes;
DROP TABLE revision;
