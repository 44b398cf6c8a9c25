WITH stamp AS (
  SELECT ata_pbp_ts AS ts FROM gold.call UNION ALL SELECT ata_berth_ts FROM gold.visit
  UNION ALL SELECT atc_ts FROM gold.visit UNION ALL SELECT atd_berth_ts FROM gold.visit
  UNION ALL SELECT atd_last_ts FROM gold.call UNION ALL SELECT end_ts FROM silver.cargo_operation
), day AS (SELECT DISTINCT CAST(ts AS DATE) AS d FROM stamp WHERE ts IS NOT NULL)
SELECT CAST(to_char(d, '%Y%m%d') AS BIGINT) AS date_key, d AS "date", to_char(d, '%G-W%V') AS iso_week,
       to_char(d, '%Y-%m') AS month,
       to_char(d, '%Y') || '-Q' || CAST(CAST(date_part('quarter', d) AS INT) AS VARCHAR) AS quarter,
       CAST(date_part('year', d) AS INT) AS year,
       CASE WHEN date_part('month', d) IN (12, 1, 2, 3) THEN 'harmattan' WHEN date_part('month', d) IN (7, 8, 9, 10) THEN 'rain'
            ELSE 'inter' END AS season,
       to_char(d, '%m-%d') IN ('01-01', '04-04', '05-01', '08-15', '11-01', '12-25') AS is_holiday_sn
FROM day
