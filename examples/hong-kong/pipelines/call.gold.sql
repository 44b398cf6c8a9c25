WITH in_port_now AS (
  SELECT call_sign, arrival_ts, place, agent
  FROM (SELECT *, max(snapshot_no) OVER () AS last_no FROM silver.in_port) s
  WHERE snapshot_no = last_no
), arrived AS (
  SELECT call_sign, arrival_ts, agent, place, has_left, true AS arrival_told FROM silver.arrival
  UNION ALL
  -- Ships that came before the arrival reports began are known from the in-port report alone.
  SELECT p.call_sign, p.arrival_ts, p.agent, p.place, false, false
  FROM silver.in_port p
  LEFT ANTI JOIN silver.arrival a ON a.call_sign = p.call_sign AND a.arrival_ts = p.arrival_ts
), spans AS (
  SELECT *, lead(arrival_ts) OVER (PARTITION BY call_sign ORDER BY arrival_ts) AS next_arrival_ts FROM arrived
), matched AS (
  -- A departure ends the ship's latest arrival before it; of several, the newest report's.
  SELECT s.call_sign, s.arrival_ts, d.departure_ts, d.place, d.agent,
         row_number() OVER (PARTITION BY s.call_sign, s.arrival_ts ORDER BY d.snapshot_no DESC, d.departure_ts DESC) AS n
  FROM spans s
  JOIN silver.departure d ON d.call_sign = s.call_sign AND d.departure_ts >= s.arrival_ts
       AND (s.next_arrival_ts IS NULL OR d.departure_ts < s.next_arrival_ts)
), ended AS (
  SELECT call_sign, arrival_ts, departure_ts, place, agent FROM matched WHERE n = 1
), told AS (
  -- An ETA is about an arrival unless the ship left in between: then it is about another call.
  SELECT a.call_sign, a.arrival_ts, u.eta_ts,
         row_number() OVER (PARTITION BY a.call_sign, a.arrival_ts
                            ORDER BY u.snapshot_no DESC, abs(CAST(a.arrival_ts AS BIGINT) - CAST(u.eta_ts AS BIGINT))) AS n
  FROM arrived a
  JOIN silver.due u ON u.call_sign = a.call_sign
       AND abs(CAST(a.arrival_ts AS BIGINT) - CAST(u.eta_ts AS BIGINT)) <= 7 * 86400000000
  LEFT ANTI JOIN silver.departure d ON d.call_sign = a.call_sign
       AND d.departure_ts > least(a.arrival_ts, u.eta_ts) AND d.departure_ts <= greatest(a.arrival_ts, u.eta_ts)
), announced AS (
  SELECT call_sign, arrival_ts, eta_ts FROM told WHERE n = 1
), calls AS (
  SELECT a.call_sign || ' arrived ' || CAST(a.arrival_ts AS VARCHAR) AS call_key, a.call_sign,
         CASE WHEN e.departure_ts IS NOT NULL OR a.has_left THEN 'departed'
              WHEN p.call_sign IS NOT NULL THEN 'in_port' ELSE 'arrived' END AS stage,
         coalesce(e.agent, p.agent, a.agent) AS agent, CAST(NULL AS VARCHAR) AS last_port,
         CASE WHEN e.departure_ts IS NOT NULL THEN e.place WHEN p.call_sign IS NOT NULL THEN p.place ELSE a.place END AS place,
         n.eta_ts, a.arrival_ts, e.departure_ts, a.arrival_told
  FROM arrived a
  LEFT JOIN ended e ON e.call_sign = a.call_sign AND e.arrival_ts = a.arrival_ts
  LEFT JOIN in_port_now p ON p.call_sign = a.call_sign AND p.arrival_ts = a.arrival_ts
  LEFT JOIN announced n ON n.call_sign = a.call_sign AND n.arrival_ts = a.arrival_ts
  UNION ALL
  -- Departures whose arrival no report tells.
  SELECT d.call_sign || ' departed ' || CAST(d.departure_ts AS VARCHAR), d.call_sign, 'departed', d.agent, NULL, d.place,
         NULL, NULL, d.departure_ts, false
  FROM silver.departure d
  LEFT ANTI JOIN ended e ON e.call_sign = d.call_sign AND e.departure_ts = d.departure_ts
  UNION ALL
  SELECT u.call_sign || ' due ' || CAST(u.eta_ts AS VARCHAR), u.call_sign, 'due', u.agent, u.last_port, NULL,
         u.eta_ts, NULL, NULL, false
  FROM (SELECT *, max(snapshot_no) OVER () AS last_no FROM silver.due) u
  WHERE u.snapshot_no = u.last_no
)
SELECT call_key, call_sign, stage, agent, last_port, place, xwalk('area', place) AS area, eta_ts, arrival_ts, departure_ts,
       arrival_told,
       CAST((CAST(departure_ts AS BIGINT) - CAST(arrival_ts AS BIGINT)) / 3600000000.0 AS DECIMAL(14, 6)) AS stay_h,
       CAST((CAST(arrival_ts AS BIGINT) - CAST(eta_ts AS BIGINT)) / 3600000000.0 AS DECIMAL(14, 6)) AS arrival_dev_h
FROM calls
