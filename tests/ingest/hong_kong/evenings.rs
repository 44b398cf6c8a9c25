//! Two evenings of small feeds: what accumulates, what is matched, and what is refused.

use std::path::Path;

use chrono::{TimeZone, Utc};
use datafusion::prelude::SessionContext;
use libtest_mimic::Failed;
use portolan::project::{Overrides, Project};
use portolan_catalog::lake::TablePath;
use portolan_ingest::{Interval, NoProgress, RunReport};

use super::{expect, port_file, runtime};
use crate::{balanced, number};

/// A feed of one report: `(root tag, rows)`, a row being `(tag, text)` pairs.
type Feed<'a> = (&'a str, &'a [&'a [(&'a str, &'a str)]]);

fn write_feeds(folder: &Path, feeds: &[Feed<'_>]) -> Result<(), Failed> {
    for (root, rows) in feeds {
        let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}>\n");
        for row in *rows {
            let cells: String = row.iter().map(|(tag, value)| format!("<{tag}>{value}</{tag}>")).collect();
            text.push_str(&format!("<G_SQL1>{cells}</G_SQL1>\n"));
        }
        // The names say nothing, as in the real feeds.
        std::fs::write(folder.join(format!("report_{}.xml", root.len() + rows.len())), "<OTHER/>")?;
        std::fs::write(folder.join(format!("feed-{root}.xml")), format!("{text}</{root}>\n"))?;
    }
    let winds = "#YY MM DD hh mm WDIR WSPD GDR GST GTIME\n#yr mo dy hr mn degT m/s degT m/s hhmm\n\
                 2025 08 17 00 50 100 5.0 110 7.5 0044\n";
    Ok(std::fs::write(folder.join("ndbc_x.txt"), winds)?)
}

async fn evening(data_dir: &Path, feeds: &[Feed<'_>]) -> Result<(Vec<RunReport>, SessionContext), Failed> {
    let folder = tempfile::tempdir()?;
    write_feeds(folder.path(), feeds)?;
    run(data_dir, folder.path()).await
}

/// Ingests a folder; the lake's tables afterwards.
async fn run(data_dir: &Path, folder: &Path) -> Result<(Vec<RunReport>, SessionContext), Failed> {
    let named = [folder.display().to_string()];
    let project = Project::read(&port_file(), Overrides { feeds: &named, data_dir: Some(data_dir) })?;
    let stores = project.open(&std::env::current_exe()?).await?;
    let at = |day| Utc.with_ymd_and_hms(2025, 8, day, 0, 0, 0).single().ok_or("date");
    let interval = Interval { start: at(16)?, end: at(19)? };
    let outcome = Box::pin(stores.ingest.run_all(interval, &NoProgress)).await;
    let lake = stores.lake.clone();
    stores.shutdown().await;
    let reports = outcome?;
    balanced(&reports)?;
    let context = SessionContext::new();
    for TablePath { zone, name } in lake.list().await? {
        let (_, provider) = lake.provider(&TablePath::new(&zone, &name), None).await?;
        context.register_table(format!("{zone}_{name}"), provider)?;
    }
    Ok((reports, context))
}

async fn all(context: &SessionContext, checks: &[(&str, f64)]) -> Result<(), Failed> {
    for (sql, expected) in checks {
        let found = number(context, sql).await.map_err(|error| format!("{sql}: {error:?}"))?;
        if (found - expected).abs() > 1e-6 {
            return Err(format!("{sql}: expected {expected}, found {found}").into());
        }
    }
    Ok(())
}

/// Two snapshots of small feeds: what a report no longer shows stays known, an arrival meets the ETA told before it,
/// and what cannot be used is refused with its reason.
pub(super) fn second_evening() -> Result<(), Failed> {
    let data = tempfile::tempdir()?;
    runtime()?.block_on(async {
        let due = ("RP04005IXML", "ETA");
        let first: [Feed<'_>; 4] = [
            (
                "RP05005IXML",
                &[
                    &[("CALL_SIGN", "AAA1"), ("VESSEL_NAME", "ALPHA "), ("ARRIVAL_TIME", "16-AUG-2025 04:00"), ("REMARK", "Departed")],
                    // Not a time, no call sign, and the first row again.
                    &[("CALL_SIGN", "BBB2"), ("ARRIVAL_TIME", "16-AUG-2025 25:00")],
                    &[("VESSEL_NAME", "NAMELESS"), ("ARRIVAL_TIME", "16-AUG-2025 05:00")],
                    &[("CALL_SIGN", "AAA1"), ("VESSEL_NAME", "ALPHA"), ("ARRIVAL_TIME", "16-AUG-2025 04:00"), ("REMARK", "Departed")],
                ],
            ),
            (
                due.0,
                &[
                    &[("CALL_SIGN", "AAA1"), (due.1, "2025/08/17 16:00")],
                    &[("CALL_SIGN", "CCC3"), (due.1, "2025/08/18 06:00")],
                    &[("CALL_SIGN", "DDD4"), (due.1, "2025/08/20 06:00")],
                ],
            ),
            ("RP06005IXML", &[&[("CALL_SIGN", "EEE5"), ("ARRIVAL_TIME", "2011/11/22 16:30"), ("CURRENT_LOCATION", "NEW PIER")]]),
            ("RP05505IXML", &[&[("CALL_SIGN", "AAA1"), ("ATD_TIME", "2025/08/16 20:00"), ("LAST_BERTH", "SINOPEC ")]]),
        ];
        let (reports, context) = evening(data.path(), &first).await?;
        let arrival = reports.iter().flat_map(|run| &run.hops).find(|hop| hop.table == "silver.arrival");
        let arrival = arrival.ok_or("no report of silver.arrival")?;
        let counts = (arrival.counts.read, arrival.counts.written, arrival.counts.quarantined, arrival.counts.deduplicated);
        let rules: Vec<_> = arrival.rules.iter().map(|(rule, rows)| format!("{rule} {rows}")).collect();
        expect("fates", &format!("{counts:?}"), "(4, 1, 2, 1)")?;
        expect("reasons", &rules.join(", "), "arrival.required.arrival_ts 1, arrival.required.call_sign 1")?;
        all(
            &context,
            &[
                ("SELECT count(*) FROM quarantine_arrival WHERE payload LIKE '%25:00%'", 1.0),
                // The ship left before its ETA, which is therefore about its next call.
                ("SELECT count(arrival_dev_h) FROM gold_call", 0.0),
                ("SELECT count(*) FROM gold_call WHERE stage = 'due'", 3.0),
                ("SELECT sum(stay_h) FROM gold_call", 16.0),
                // A spelling nobody reviewed stays in the totals.
                ("SELECT count(*) FROM gold_in_port WHERE place IS NULL", 1.0),
            ],
        )
        .await?;
        let second: [Feed<'_>; 4] = [
            ("RP05005IXML", &[&[("CALL_SIGN", "CCC3"), ("ARRIVAL_TIME", "18-AUG-2025 07:30")]]),
            (due.0, &[&[("CALL_SIGN", "DDD4"), (due.1, "2025/08/20 09:00")]]),
            ("RP06005IXML", &[&[("CALL_SIGN", "CCC3"), ("ARRIVAL_TIME", "2025/08/18 07:30"), ("IMO_NO", "9074729")]]),
            ("RP05505IXML", &[&[("CALL_SIGN", "EEE5"), ("ATD_TIME", "2025/08/17 18:30")]]),
        ];
        let (_, context) = evening(data.path(), &second).await?;
        all(
            &context,
            &[
                ("SELECT count(*) FROM bronze_hk_arrived", 5.0),
                ("SELECT count(*) FROM gold_call WHERE arrival_told", 2.0),
                ("SELECT count(arrival_dev_h) FROM gold_call", 1.0),
                ("SELECT sum(arrival_dev_h) FROM gold_call WHERE call_sign = 'CCC3'", 1.5),
                // Announced is what the newest report announces, with its newest ETA.
                ("SELECT count(*) FROM gold_call WHERE stage = 'due'", 1.0),
                ("SELECT count(*) FROM gold_call WHERE stage = 'due' AND eta_ts = '2025-08-20T01:00:00Z'", 1.0),
                // In port is who the newest report shows; the other one left, after many years.
                ("SELECT count(*) FROM gold_in_port WHERE call_sign = 'CCC3'", 1.0),
                ("SELECT count(*) FROM gold_in_port", 1.0),
                ("SELECT count(*) FROM gold_call WHERE call_sign = 'EEE5' AND stage = 'departed' AND stay_h > 100000", 1.0),
                ("SELECT count(*) FROM gold_vessel WHERE vessel_nk = 'imo:9074729'", 1.0),
            ],
        )
        .await?;
        // A folder without one of the reports is a mistake, not an empty port; so is one with two evenings.
        let refused = |outcome: Result<(Vec<RunReport>, SessionContext), Failed>, part: &str| match outcome {
            Ok(_) => Err(Failed::from(format!("accepted, though {part}"))),
            Err(error) if format!("{error:?}").contains(part) => Ok(()),
            Err(error) => Err(error),
        };
        refused(evening(data.path(), &second[1..]).await, "gave no record")?;
        let folder = tempfile::tempdir()?;
        write_feeds(folder.path(), &second)?;
        std::fs::copy(folder.path().join("feed-RP06005IXML.xml"), folder.path().join("yesterday.xml"))?;
        refused(run(data.path(), folder.path()).await, "has several files")
    })
}
