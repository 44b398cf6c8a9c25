WITH kind AS (
  SELECT DISTINCT o.cargo_code, o.direction, o.trade, coalesce(o.packaging, '') AS packaging FROM silver.cargo_operation o
)
SELECT key63('cargo', k.cargo_code || '/' || k.direction || '/' || k.trade || '/' || k.packaging) AS cargo_key,
       k.cargo_code || '/' || k.direction || '/' || k.trade || '/' || k.packaging AS cargo_code, c.commodity, c.cargo_class,
       nullif(k.packaging, '') AS packaging, k.direction, k.trade, c.iso_type, c.weather_sensitive, c.hazardous
FROM kind k JOIN silver.cargo_code c ON c.cargo_code = k.cargo_code
