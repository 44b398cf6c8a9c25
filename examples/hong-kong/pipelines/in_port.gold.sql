WITH newest AS (
  SELECT max(ts) AS observed_ts
  FROM (SELECT arrival_ts AS ts FROM silver.arrival
        UNION ALL SELECT departure_ts FROM silver.departure
        UNION ALL SELECT arrival_ts FROM silver.in_port) e
), shown AS (
  SELECT *, max(snapshot_no) OVER () AS last_no FROM silver.in_port
)
SELECT s.call_sign, s.agent, s.place, xwalk('area', s.place) AS area, s.arrival_ts, n.observed_ts,
       CAST((CAST(n.observed_ts AS BIGINT) - CAST(s.arrival_ts AS BIGINT)) / 3600000000.0 AS DECIMAL(14, 6)) AS in_port_h
FROM shown s CROSS JOIN newest n
WHERE s.snapshot_no = s.last_no
