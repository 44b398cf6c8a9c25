WITH v AS (
  SELECT row_id, CAST(vessel_id AS VARCHAR) AS vessel_id, trim(imo_no) AS imo_no, trim(mmsi) AS mmsi,
         trim(call_sign) AS call_sign, trim(ship_type) AS ship_type, imo_status(imo_no) AS imo_status
  FROM bronze.vessels
), linked AS (
  -- A ship entered twice has no IMO number the second time, but the same radio identities.
  SELECT mmsi, call_sign, min(imo_no) AS imo_no
  FROM v
  WHERE imo_status = 'valid' AND mmsi <> '' AND call_sign <> ''
  GROUP BY mmsi, call_sign
  HAVING count(DISTINCT imo_no) = 1
), known AS (
  SELECT v.*, CASE WHEN v.imo_status = 'valid' THEN 'imo:' || v.imo_no
                   WHEN l.imo_no IS NOT NULL THEN 'imo:' || l.imo_no
                   WHEN length(v.mmsi) = 9 AND v.mmsi <> '000000000' AND v.call_sign <> '' THEN 'mmsi:' || v.mmsi
                   ELSE 'src:tos:' || v.vessel_id END AS vessel_nk
  FROM v LEFT JOIN linked l ON l.mmsi = v.mmsi AND l.call_sign = v.call_sign
)
SELECT row_id, vessel_id, vessel_nk, ship_type, imo_status,
       row_number() OVER (PARTITION BY vessel_nk ORDER BY imo_status = 'valid' DESC, CAST(vessel_id AS BIGINT)) = 1 AS is_master
FROM known
