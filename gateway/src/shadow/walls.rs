//! What the shadow database needs besides the mirror: the walls, and the gateway's own view of live state.
//!
//! All of it is in one schema with a reserved name, so that no client lists it. Functions through which a relayed
//! statement could change state, reach files, wait, or read a mirrored table behind the lock guard's back are taken
//! from PUBLIC. The schema's comment is the memory of what was done.

/// Changes whenever [`setup`] does; an older data directory is then set up again.
pub(super) const SETUP: u64 = 1;

/// The schema of everything that is ours.
pub(super) const SCHEMA: &str = "pg_portolan";

/// SQLSTATE of the private notice of `set_config`.
pub(super) const SET_CONFIG_NOTICE: &str = "PTSET";

/// Relations that describe the gateway's sessions, with the setting that carries their rows.
pub(super) const LIVE: [(&str, &str); 3] = [
    ("pg_stat_activity", "portolan.activity"),
    ("pg_cursors", "portolan.cursors"),
    ("pg_prepared_statements", "portolan.prepared"),
];

/// The statements that set a database up; they may be run again.
pub(super) fn setup() -> String {
    let views = LIVE
        .iter()
        .map(|(relation, setting)| {
            format!(
                "EXECUTE (SELECT format('CREATE VIEW {SCHEMA}.{relation} AS SELECT * FROM \
                 json_to_recordset(coalesce(nullif(current_setting(''{setting}'', true), ''''), ''[]'')::json) AS r(%s)', \
                 string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)) \
                 FROM pg_attribute WHERE attrelid = 'pg_catalog.{relation}'::regclass AND attnum > 0 AND NOT attisdropped);\n"
            )
        })
        .collect::<String>();
    format!(
        "SET LOCAL allow_system_table_mods = on;
DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;
CREATE SCHEMA {SCHEMA};
GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC;
CREATE FUNCTION {SCHEMA}.set_config(setting_name text, new_value text, is_local boolean) RETURNS text
LANGUAGE plpgsql AS $f$ BEGIN
  IF setting_name IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = 'SET requires parameter name';
  END IF;
  IF lower(setting_name) IN ('role', 'session_authorization') THEN
    RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = format('permission denied to set parameter \"%s\"', setting_name);
  END IF;
  RAISE NOTICE USING ERRCODE = '{SET_CONFIG_NOTICE}',
    MESSAGE = json_build_array(setting_name, new_value, coalesce(is_local, false))::text;
  RETURN coalesce(new_value, '');
END $f$;
CREATE FUNCTION {SCHEMA}.last(anyelement, anyelement) RETURNS anyelement LANGUAGE sql IMMUTABLE AS 'SELECT $2';
DO $d$ DECLARE f regprocedure; BEGIN
  FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND (
      proname IN ('set_config', 'pg_notify', 'pg_cancel_backend', 'pg_terminate_backend', 'pg_reload_conf',
        'pg_rotate_logfile', 'pg_switch_wal', 'pg_create_restore_point', 'query_to_xml', 'pg_export_snapshot',
        'pg_log_backend_memory_contexts', 'ts_stat', 'setseed')
      OR proname LIKE '%\\_to\\_xml%' OR proname LIKE 'pg\\_sleep%'
      OR (proname LIKE 'pg\\_advisory%' AND proname <> 'pg_advisory_unlock_all')
      OR proname LIKE 'pg\\_try\\_advisory%' OR proname LIKE 'lo\\_%' OR proname IN ('loread', 'lowrite')
      OR proname LIKE 'pg\\_read\\_%' OR proname LIKE 'pg\\_ls\\_%' OR proname LIKE 'pg\\_stat\\_reset%'
      OR proname LIKE 'pg\\_replication%' OR proname LIKE 'pg\\_logical%')
  LOOP EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f); END LOOP;
  {views}
END $d$;
GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
DO $d$ BEGIN EXECUTE format('REVOKE TEMP ON DATABASE %I FROM PUBLIC', current_database()); END $d$;
UPDATE pg_database SET datallowconn = false WHERE datname LIKE 'template%';
"
    )
}

/// Lists mirrored relations that the running transaction holds a lock on: what the statement before it has read.
pub(super) const GUARD: &str = "SELECT c.oid::regclass FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation \
     WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.relation >= 16384 \
     AND c.relkind IN ('r', 'v', 'm', 'p', 'f') AND c.relnamespace <> 'pg_portolan'::regnamespace LIMIT 1";
