SELECT key63('vessel', v.vessel_nk, CAST(h.valid_from AS VARCHAR)) AS vessel_key, v.vessel_nk, h.imo, h.mmsi, h.call_sign,
       h.name, h.flag, v.ship_type AS type, CAST(h.gt AS INT) AS gt, CAST(h.dwt AS INT) AS dwt, CAST(h.teu_cap AS INT) AS teu_cap,
       CASE WHEN h.gt < 5000 THEN 'small' WHEN h.gt < 20000 THEN 'medium' WHEN h.gt < 60000 THEN 'large' ELSE 'very large' END AS size_class,
       h.imo_status, false AS is_inferred, h.valid_from, h.valid_to,
       h.valid_to = parse_ts('2200-01-01', '%Y-%m-%d', 'UTC') AS is_current,
       md5(concat_ws('|', h.imo, h.mmsi, h.call_sign, h.name, h.flag, v.ship_type, CAST(h.gt AS VARCHAR), CAST(h.dwt AS VARCHAR))) AS row_hash
FROM silver.vessel v JOIN silver.vessel_version h ON h.vessel_id = v.vessel_id
WHERE v.is_master
