WITH base AS (
  SELECT key63('op', o.op_id) AS op_key, v.port_call_id, v.visit_id, o.op_id, o.tonnes, o.teu, o.boxes, o.restows, o.units,
         o.crane_hours, key63('cargo', o.cargo_code || '/' || o.direction || '/' || o.trade || '/' || coalesce(o.packaging, '')) AS cargo_key
  FROM silver.cargo_operation o JOIN gold.visit v ON v.visit_id = o.visit_id JOIN gold.call c ON c.port_call_id = v.port_call_id
  UNION ALL
  -- A visit without cargo keeps one row, so that its hours are not lost.
  SELECT key63('visit', v.visit_id), v.port_call_id, v.visit_id, NULL, 0, 0, NULL, NULL, NULL, NULL, -2
  FROM gold.visit v JOIN gold.call c ON c.port_call_id = v.port_call_id
  LEFT JOIN (SELECT DISTINCT visit_id FROM silver.cargo_operation) o ON o.visit_id = v.visit_id
  WHERE o.visit_id IS NULL
  UNION ALL
  SELECT key63('call', c.port_call_id), c.port_call_id, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, -2
  FROM gold.call c WHERE c.visits = 0
), flagged AS (
  SELECT b.*, v.visit_no, v.berth_id, v.ata_berth_ts, v.ats_ts, v.atc_ts, v.atd_berth_ts, v.gross_work_h, v.stop_h, v.berth_h,
         v.idle_h, v.weather_stop_h,
         row_number() OVER (PARTITION BY b.port_call_id ORDER BY v.visit_no NULLS FIRST, b.tonnes DESC, CAST(b.op_id AS BIGINT)) = 1 AS is_call_row,
         b.visit_id IS NOT NULL AND row_number() OVER (PARTITION BY b.visit_id ORDER BY b.tonnes DESC, CAST(b.op_id AS BIGINT)) = 1 AS is_visit_row
  FROM base b LEFT JOIN gold.visit v ON v.visit_id = b.visit_id
), versions AS (
  SELECT v.vessel_id, h.vessel_key, h.valid_from, h.valid_to
  FROM silver.vessel v JOIN gold.dim_vessel h ON h.vessel_nk = v.vessel_nk
)
SELECT f.op_key, f.port_call_id, f.visit_id, k.agent,
       coalesce(CAST(to_char(CAST(c.ata_pbp_ts AS DATE), '%Y%m%d') AS BIGINT), -1) AS date_arr_key,
       coalesce(CAST(to_char(CAST(f.ata_berth_ts AS DATE), '%Y%m%d') AS BIGINT), -1) AS date_berth_key,
       coalesce(CAST(to_char(CAST(f.atc_ts AS DATE), '%Y%m%d') AS BIGINT), CASE WHEN f.cargo_key = -2 THEN -2 ELSE -1 END) AS date_end_key,
       coalesce(CAST(to_char(CAST(f.atd_berth_ts AS DATE), '%Y%m%d') AS BIGINT), -1) AS date_dep_key,
       coalesce(s.vessel_key, -1) AS vessel_key,
       coalesce(t.terminal_key, CASE WHEN f.visit_id IS NULL THEN -2 ELSE -1 END) AS terminal_key, f.cargo_key,
       f.is_call_row, f.is_visit_row,
       CAST(f.tonnes AS DECIMAL(14,3)) AS tonnes, CAST(f.teu AS DECIMAL(10,2)) AS teu, CAST(f.boxes AS INT) AS boxes,
       CAST(f.restows AS INT) AS restows, CAST(f.units AS INT) AS units, f.crane_hours,
       CASE WHEN f.is_visit_row THEN f.gross_work_h END AS gross_work_h, CASE WHEN f.is_visit_row THEN f.stop_h END AS stop_h,
       CASE WHEN f.is_visit_row THEN f.berth_h END AS berth_h, CASE WHEN f.is_visit_row THEN f.idle_h END AS idle_h,
       CASE WHEN f.is_visit_row THEN f.weather_stop_h END AS weather_stop_h,
       CASE WHEN f.is_call_row THEN c.arrival_dev_h END AS arrival_dev_h, CASE WHEN f.is_call_row THEN c.waiting_h END AS waiting_h,
       CASE WHEN f.is_call_row THEN c.shift_h END AS shift_h, CASE WHEN f.is_call_row THEN c.port_h END AS port_h,
       CASE WHEN f.is_call_row THEN c.weather_wait_h END AS weather_wait_h,
       CASE WHEN f.is_call_row THEN c.weather_wait_strict_h END AS weather_wait_strict_h,
       CASE WHEN f.is_call_row THEN c.weather_unknown_h END AS weather_unknown_h,
       CASE WHEN f.is_call_row THEN c.tide_wait_h END AS tide_wait_h,
       c.eta_ref_ts, c.proforma_ts, c.ata_pbp_ts, f.ata_berth_ts, f.ats_ts, f.atc_ts, f.atd_berth_ts, c.atd_last_ts,
       c.max_gust_ms, c.max_hs_m, c.min_vis_m, c.rain_mm, c.weather_class, k.delay_reason,
       CAST(date_trunc('month', c.ata_pbp_ts) AS DATE) AS call_month
FROM flagged f
JOIN gold.call c ON c.port_call_id = f.port_call_id
JOIN gold.call_clock k ON k.port_call_id = f.port_call_id
LEFT JOIN versions s ON s.vessel_id = k.vessel_id AND c.ata_pbp_ts >= s.valid_from AND c.ata_pbp_ts < s.valid_to
LEFT JOIN (SELECT b.berth_id, t.terminal_key, b.valid_from, b.valid_to
           FROM silver.berth b JOIN gold.dim_terminal t ON t.berth_nk = b.berth_nk AND t.valid_from = b.valid_from) t
       ON t.berth_id = f.berth_id AND f.ata_berth_ts >= t.valid_from AND f.ata_berth_ts < t.valid_to
