//! The README of the example is what happens: its queries give the answers it shows, and its new feed works.

use std::path::Path;

use libtest_mimic::Failed;

use super::{connect, copy_feeds, expect, feeds, ingest, port_file, runtime, serve, stop, texts};

/// Fenced blocks of the README: language and text.
fn blocks() -> Result<Vec<(String, String)>, Failed> {
    let path = port_file().with_file_name("README.md");
    let text = std::fs::read_to_string(path)?;
    let mut blocks = Vec::new();
    for (at, part) in text.split("```").enumerate() {
        if at % 2 == 1 {
            let (language, body) = part.split_once('\n').ok_or("a block without lines")?;
            blocks.push((language.to_owned(), body.to_owned()));
        }
    }
    Ok(blocks)
}

/// The cells of a table as psql prints it.
fn cells(table: &str) -> Vec<String> {
    let rows = table.lines().skip(2).filter(|line| !line.starts_with('('));
    rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>().join("|")).collect()
}

/// Runs every query of the README and compares its answer.
pub(super) async fn answers(client: &tokio_postgres::Client) -> Result<(), Failed> {
    let blocks = blocks()?;
    let mut compared = 0;
    for pair in blocks.windows(2) {
        let [(language, sql), (_, table)] = pair else { continue };
        if language == "sql" {
            let found = texts(client, sql).await?.join("\n").replace("NULL", "");
            expect(sql, &found, &cells(table).join("\n"))?;
            compared += 1;
        }
    }
    expect("queries of the README", &compared.to_string(), "3")
}

/// Adds the README's feed to a copy of the example: declaration, pipeline and KPI as they are printed.
pub(super) fn own_feed() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let example = directory.path().join("port");
    copy(port_file().parent().ok_or("no folder")?, &example)?;
    let feeds_copy = directory.path().join("feeds");
    std::fs::create_dir(&feeds_copy)?;
    copy_feeds(&feeds()?, &feeds_copy)?;
    let config = example.join("portolan.yaml");
    let mut written = 0;
    for (language, body) in blocks()? {
        match (language.as_str(), body.trim_start().split_once('\n')) {
            ("csv", _) => std::fs::write(feeds_copy.join("pilotage.csv"), &body)?,
            ("yaml", Some(("# portolan.yaml", _))) => {
                let whole = std::fs::read_to_string(&config)?;
                std::fs::write(&config, whole + &body)?;
            }
            ("yaml", Some((name, _))) => {
                std::fs::write(example.join(name.trim_start_matches("# ")), &body)?;
            }
            _ => continue,
        }
        written += 1;
    }
    expect("files of the README", &written.to_string(), "4")?;
    let data_dir = directory.path().join("data");
    let (output, told) = ingest(&config, &data_dir, &feeds_copy)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    expect("status", told["status"].as_str().unwrap_or_default(), "ok").map_err(|_| said.clone())?;
    let line =
        said.lines().find(|line| line.starts_with("silver.pilotage")).ok_or("no line of the pilotage")?;
    let line: Vec<&str> = line.split_whitespace().collect();
    expect("fates", &line.join(" "), "silver.pilotage 4 2 0 0 1 1")?;
    let (mut serving, ready) = serve(&config, &data_dir, &feeds_copy)?;
    let address = ready["pg"].as_str().ok_or("no address")?.to_owned();
    runtime()?.block_on(async {
        let client = connect(&address).await?;
        let sql =
            "SELECT ship_class, MEASURE(pilotages) FROM kpi.pilotage GROUP BY ship_class ORDER BY ship_class";
        expect(sql, &texts(&client, sql).await?.join(", "), "container|1, dry bulk|1")?;
        let refused = "SELECT rule_id, payload LIKE '%16/08/2025%' FROM quarantine.pilotage";
        let found = texts(&client, refused).await?.join(", ");
        expect(refused, &found, "pilotage.required.boarded_ts|t")
    })?;
    stop(&mut serving)
}

/// Copies a folder with everything in it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), Failed> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().ok_or("no file name")?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            std::fs::write(target, std::fs::read(&path)?)?;
        }
    }
    Ok(())
}
