-- What a team pays on top of costs, and the parts of a call's usage that have prices of their own: null in
-- calls that were written before.

-- up
ALTER TABLE teams ADD COLUMN markup {text} NOT NULL DEFAULT '0';
ALTER TABLE teams ADD COLUMN allowance {text} NOT NULL DEFAULT '0';
ALTER TABLE usage ADD COLUMN cache_write_1h_tokens {int};
ALTER TABLE usage ADD COLUMN audio_prompt_tokens {int};
ALTER TABLE usage ADD COLUMN audio_completion_tokens {int};
ALTER TABLE usage ADD COLUMN image_prompt_tokens {int};
ALTER TABLE usage ADD COLUMN image_completion_tokens {int};
ALTER TABLE usage ADD COLUMN search_units {int};

-- down
ALTER TABLE usage DROP COLUMN search_units;
ALTER TABLE usage DROP COLUMN image_completion_tokens;
ALTER TABLE usage DROP COLUMN image_prompt_tokens;
ALTER TABLE usage DROP COLUMN audio_completion_tokens;
ALTER TABLE usage DROP COLUMN audio_prompt_tokens;
ALTER TABLE usage DROP COLUMN cache_write_1h_tokens;
ALTER TABLE teams DROP COLUMN allowance;
ALTER TABLE teams DROP COLUMN markup;
