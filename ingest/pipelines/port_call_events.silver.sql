WITH b AS (SELECT * FROM bronze.port_call_events)
SELECT row_id, 'v1' AS generation, call_no AS port_call_id,
       CASE evt WHEN 'ETA' THEN 'pbp' WHEN 'ATA' THEN 'pbp' WHEN 'ATB' THEN 'allfast'
                WHEN 'ETB' THEN 'berth' WHEN 'ETD' THEN 'berth' WHEN 'ATD' THEN 'berth' END AS place,
       CASE evt WHEN 'ETA' THEN 'eta' WHEN 'ATA' THEN 'ata' WHEN 'ATB' THEN 'ata'
                WHEN 'ETB' THEN 'eta' WHEN 'ETD' THEN 'etd' WHEN 'ATD' THEN 'atd' END AS kind,
       src AS source, CAST(NULL AS VARCHAR) AS visit_id,
       parse_ts(ts, '%d-%b-%Y %H:%M|%Y/%m/%d %H:%M', 'Europe/Paris') AS event_ts,
       parse_ts(rec, '%d-%b-%Y %H:%M|%Y/%m/%d %H:%M', 'Europe/Paris') AS record_ts,
       CAST(NULL AS BIGINT) AS minutes
FROM b WHERE evt IS NOT NULL AND call_no IS NOT NULL
UNION ALL
SELECT row_id, 'v2', portcall_id, split_part(event_type, '.', 1), split_part(event_type, '.', 2),
       split_part(event_type, '.', 3), visit_v2, parse_ts(event_time, 'iso'), parse_ts(record_time, 'iso'), NULL
FROM b WHERE event_type IS NOT NULL
UNION ALL
SELECT row_id, 'v3', call_v3,
       CASE service_v3 WHEN 'PILOT_BOARDING_PLACE' THEN 'pbp' WHEN 'BERTH' THEN 'berth' WHEN 'ALL_FAST' THEN 'allfast'
            WHEN 'ANCHORAGE' THEN 'anchorage' WHEN 'PILOTAGE' THEN 'pilotage' WHEN 'CARGO_OPERATIONS' THEN 'cargo'
            WHEN 'SEA_PASSAGE' THEN 'seapassage' ELSE lower(service_v3) END,
       CASE WHEN classifier IN ('EST', 'REQ') THEN CASE event_v3 WHEN 'ARRI' THEN 'eta' WHEN 'DEPA' THEN 'etd' WHEN 'STRT' THEN 'ets' ELSE 'etc' END
            WHEN classifier = 'PLN' THEN CASE event_v3 WHEN 'ARRI' THEN 'pta' WHEN 'DEPA' THEN 'ptd' WHEN 'STRT' THEN 'pts' ELSE 'ptc' END
            ELSE CASE event_v3 WHEN 'ARRI' THEN 'ata' WHEN 'DEPA' THEN 'atd' WHEN 'STRT' THEN 'ats' ELSE 'atc' END END,
       CASE role_v3 WHEN 'PLT' THEN 'pilot' WHEN 'ATH' THEN 'portauthority' WHEN 'TR' THEN 'terminal' WHEN 'VSL' THEN 'ship'
            WHEN 'AG' THEN 'agent' WHEN 'CA' THEN 'carrier' ELSE role_v3 END,
       visit_v3, parse_ts(date_time, 'iso'), parse_ts(created, 'iso'), NULL
FROM b WHERE schema_version = '2.0'
UNION ALL
SELECT row_id, 'v4', call_reference, 'pbp', 'eta', 'agent', NULL, parse_ts(agent_eta, 'iso'), parse_ts(agent_eta_stamp, 'iso'), NULL
FROM b WHERE call_reference IS NOT NULL AND array_path = 'agentInfo[]'
UNION ALL
SELECT row_id, 'v4', call_reference, 'berth', 'eta', coalesce(berth_eta_source, 'community'), visit_v4, parse_ts(berth_eta, 'iso'),
       coalesce(parse_ts(berth_eta_stamp, 'iso'), parse_ts(snapshot_time, 'iso')), NULL
FROM b WHERE call_reference IS NOT NULL AND array_path = 'portAreaDetails[].berthDetails[]' AND berth_eta IS NOT NULL
UNION ALL
SELECT row_id, 'v4', call_reference, 'allfast', 'ata', 'community', visit_v4, parse_ts(berth_ata, 'iso'), parse_ts(snapshot_time, 'iso'), NULL
FROM b WHERE call_reference IS NOT NULL AND array_path = 'portAreaDetails[].berthDetails[]' AND berth_ata IS NOT NULL
UNION ALL
SELECT row_id, 'v4', call_reference, 'berth', 'atd', 'community', visit_v4, parse_ts(berth_atd, 'iso'), parse_ts(snapshot_time, 'iso'), NULL
FROM b WHERE call_reference IS NOT NULL AND array_path = 'portAreaDetails[].berthDetails[]' AND berth_atd IS NOT NULL
UNION ALL
SELECT row_id, 'v4', call_reference, 'delay', reason_code, 'agent', NULL, NULL,
       coalesce(parse_ts(reported_at, 'iso'), parse_ts(snapshot_time, 'iso')), CAST(number(reason_minutes) AS BIGINT)
FROM b WHERE call_reference IS NOT NULL AND array_path = 'delayInfo[]'
UNION ALL
SELECT row_id, 'unknown', coalesce(call_no, portcall_id, call_v3), NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM b WHERE decode_error IS NOT NULL
   OR ((evt IS NULL OR call_no IS NULL) AND event_type IS NULL AND coalesce(schema_version, '') <> '2.0' AND call_reference IS NULL)
