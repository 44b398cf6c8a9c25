SELECT key63('terminal', berth_nk, CAST(valid_from AS VARCHAR)) AS terminal_key, berth_nk, berth_no, mole, zone, terminal_code,
       terminal_name, operator, smdg_code, length_m, depth_m, status, CAST(NULL AS DOUBLE) AS wind_limit_ms,
       CAST(NULL AS DOUBLE) AS swell_limit_m, CAST(NULL AS DOUBLE) AS vis_limit_m, false AS is_inferred, valid_from, valid_to,
       valid_to = parse_ts('2200-01-01', '%Y-%m-%d', 'UTC') AS is_current,
       md5(concat_ws('|', berth_no, mole, zone, terminal_code, operator, status, CAST(length_m AS VARCHAR), CAST(depth_m AS VARCHAR))) AS row_hash
FROM silver.berth
