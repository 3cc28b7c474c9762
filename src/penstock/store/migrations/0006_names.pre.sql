-- Names of service accounts are a team's own: whether another team has one of a name is not to be told. That a team
-- has none twice is seen to by whoever writes one (store/entities.py), one after the other. E-mail addresses are looked
-- up in small letters.

-- up
-- postgres
ALTER TABLE service_accounts DROP CONSTRAINT service_accounts_name_key;
-- sqlite
PRAGMA defer_foreign_keys = ON;
-- sqlite
CREATE TABLE accounts_before AS SELECT * FROM service_accounts;
-- sqlite
DROP TABLE service_accounts;
-- sqlite
CREATE TABLE service_accounts (
  id {text} NOT NULL PRIMARY KEY,
  created {int} NOT NULL,
  created_by {text} NOT NULL,
  version {int} NOT NULL,
  name {text} NOT NULL,
  team_id {text} REFERENCES teams (id),
  role {text} NOT NULL,
  disabled {int}
) {table_end};
-- sqlite
INSERT INTO service_accounts SELECT * FROM accounts_before;
-- sqlite
DROP TABLE accounts_before;
-- sqlite
CREATE INDEX service_accounts_created ON service_accounts (created, id);
-- sqlite
CREATE INDEX service_accounts_team ON service_accounts (team_id);
CREATE INDEX service_accounts_name ON service_accounts (name);
CREATE INDEX users_small_email ON users (lower(email));

-- down
DROP INDEX users_small_email;
DROP INDEX service_accounts_name;
UPDATE service_accounts SET name = name || ' ' || id
WHERE EXISTS (SELECT 1 FROM service_accounts o WHERE o.name = service_accounts.name AND o.id < service_accounts.id);
-- postgres
ALTER TABLE service_accounts ADD CONSTRAINT service_accounts_name_key UNIQUE (name);
-- sqlite
CREATE UNIQUE INDEX service_accounts_name_key ON service_accounts (name);
