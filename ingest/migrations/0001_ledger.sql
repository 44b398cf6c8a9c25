-- Runs, their hops, what they refused, and the load batches. A warehouse from before there were steps has these tables.
CREATE TABLE IF NOT EXISTS portolan.runs (
  run_id text NOT NULL, pipeline text NOT NULL, data_interval text NOT NULL, status text NOT NULL,
  started_at timestamptz NOT NULL, duration_ms bigint NOT NULL, rows_read bigint NOT NULL, rows_written bigint NOT NULL,
  rows_quarantined bigint NOT NULL, batch_id bigint, error_class text, error text, PRIMARY KEY (run_id, pipeline));
CREATE TABLE IF NOT EXISTS portolan.ledger (
  run_id text NOT NULL, pipeline text NOT NULL, hop text NOT NULL, table_name text NOT NULL, data_interval text NOT NULL,
  version bigint NOT NULL, changed boolean NOT NULL, rows_read bigint NOT NULL, rows_written bigint NOT NULL,
  superseded bigint NOT NULL, deduplicated bigint NOT NULL, filtered bigint NOT NULL, quarantined bigint NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (run_id, table_name, hop),
  CHECK (rows_read = rows_written + superseded + deduplicated + filtered + quarantined));
CREATE TABLE IF NOT EXISTS portolan.quarantine (
  run_id text NOT NULL, pipeline text NOT NULL, table_name text NOT NULL, rule_id text NOT NULL, rows bigint NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (run_id, table_name, rule_id));
CREATE TABLE IF NOT EXISTS portolan.load_batch (
  batch_id bigint PRIMARY KEY, fingerprint text NOT NULL, run_id text NOT NULL, rows bigint NOT NULL,
  calls_changed bigint NOT NULL, loaded_at timestamptz NOT NULL DEFAULT now());
