-- Rows that a rule warned of and that were written nevertheless are counted beside those it refused.
ALTER TABLE portolan.quarantine ADD COLUMN IF NOT EXISTS written boolean NOT NULL DEFAULT false;
