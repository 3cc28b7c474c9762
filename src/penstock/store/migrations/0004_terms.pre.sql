-- What each team was charged beside costs, and since when: also of teams that only the file knows, and of those
-- that are deleted.

-- up
CREATE TABLE team_terms (
  team {text} NOT NULL,
  since {int} NOT NULL,
  markup {text} NOT NULL,
  allowance {text} NOT NULL,
  PRIMARY KEY (team, since)
) {clustered_end};

-- down
DROP TABLE team_terms;
