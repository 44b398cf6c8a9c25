WITH told AS (
  -- The in-port report knows most of a ship, so it is believed first.
  SELECT call_sign, vessel_name, ship_type, flag, imo, 1 AS preference, snapshot_no FROM silver.in_port
  UNION ALL
  SELECT call_sign, vessel_name, ship_type, CAST(NULL AS VARCHAR), CAST(NULL AS VARCHAR), 2, snapshot_no FROM silver.departure
  UNION ALL
  SELECT call_sign, vessel_name, ship_type, CAST(NULL AS VARCHAR), CAST(NULL AS VARCHAR), 3, snapshot_no FROM silver.arrival
  UNION ALL
  SELECT call_sign, vessel_name, ship_type, CAST(NULL AS VARCHAR), CAST(NULL AS VARCHAR), 4, snapshot_no FROM silver.due
), ranked AS (
  SELECT *, row_number() OVER (PARTITION BY call_sign ORDER BY preference, snapshot_no DESC, vessel_name, ship_type) AS n
  FROM told
)
SELECT call_sign, CASE WHEN imo IS NOT NULL THEN 'imo:' || imo ELSE 'call:' || call_sign END AS vessel_nk, imo,
       vessel_name, ship_type, xwalk('ship_class', ship_type) AS ship_class, flag
FROM ranked
WHERE n = 1
