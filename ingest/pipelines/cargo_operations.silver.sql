SELECT o.row_id, CAST(o.op_id AS VARCHAR) AS op_id, o.port_call_id, CAST(o.visit_id AS VARCHAR) AS visit_id,
       xwalk('terminal', o.terminal_name) AS terminal_spelled, trim(o.cargo_code) AS cargo_code,
       trim(o.direction) AS direction, trim(o.trade) AS trade, o.packaging, o.tonnes, o.teu,
       CAST(o.boxes AS BIGINT) AS boxes, CAST(o.restows AS BIGINT) AS restows, CAST(o.units AS BIGINT) AS units,
       o.crane_hours,
       parse_ts(o.start_time, '%Y-%m-%dT%H:%M:%S%.f', 'UTC') AS start_ts,
       parse_ts(o.end_time, '%Y-%m-%dT%H:%M:%S%.f', 'UTC') AS end_ts,
       parse_ts(o.updated_at, '%Y-%m-%dT%H:%M:%S%.f', 'UTC') AS updated_ts,
       v.visit_id IS NOT NULL AS visit_known, v.all_fast_ts, c.cargo_class, CAST(s.dwt AS DOUBLE) AS dwt
FROM bronze.cargo_operations o
LEFT JOIN silver.berth_visit v ON v.visit_id = CAST(o.visit_id AS VARCHAR)
LEFT JOIN silver.cargo_code c ON c.cargo_code = trim(o.cargo_code)
LEFT JOIN silver.port_call p ON p.port_call_id = o.port_call_id
LEFT JOIN bronze.vessels s ON CAST(s.vessel_id AS VARCHAR) = p.vessel_id
