WITH told AS (
  -- The register's placeholder dates are replaced by what the pilot told.
  SELECT port_call_id, min(event_ts) AS ata_ts
  FROM silver.port_event WHERE place = 'pbp' AND kind = 'ata' AND source = 'pilot' GROUP BY port_call_id
), arrival AS (
  SELECT p.*, coalesce(p.ata_ts, t.ata_ts) AS ata_pbp_ts
  FROM silver.port_call p LEFT JOIN told t ON t.port_call_id = p.port_call_id
  WHERE p.arrived
), estimate AS (
  SELECT e.port_call_id, e.event_ts, row_number() OVER (PARTITION BY e.port_call_id ORDER BY e.record_ts DESC, e.event_ts) AS n
  FROM silver.port_event e JOIN arrival a ON a.port_call_id = e.port_call_id
  WHERE e.place = 'pbp' AND e.kind = 'eta' AND e.record_ts <= a.ata_pbp_ts - INTERVAL '24 hours'
), reason AS (
  SELECT port_call_id, kind, row_number() OVER (PARTITION BY port_call_id ORDER BY sum(minutes) DESC, kind) AS n
  FROM silver.port_event WHERE place = 'delay' GROUP BY port_call_id, kind
)
SELECT a.port_call_id, a.vessel_id, a.agent, a.ata_pbp_ts, e.event_ts AS eta_ref_ts, a.proforma_ts, a.atd_ts AS atd_last_ts,
       r.kind AS delay_reason
FROM arrival a
LEFT JOIN estimate e ON e.port_call_id = a.port_call_id AND e.n = 1
LEFT JOIN reason r ON r.port_call_id = a.port_call_id AND r.n = 1
WHERE a.ata_pbp_ts IS NOT NULL
