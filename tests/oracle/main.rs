//! The differential oracle: generated queries over the same rows in every store must give one answer, whichever
//! store holds a table, whatever goes down, however many parts a plan has; and it is PostgreSQL's.
//!
//! Run as an ordinary test it asks some thousand queries; `cargo x oracle` asks as many as one likes. A difference
//! is made small, printed with its seed and its plans, and is a bug until it is written down as a difference.

mod configured;
mod differ;
mod doors;
mod expressions;
mod generate;
mod hostile;
mod memory;
mod outcome;
mod random;
mod servers;
mod stores;
mod syntax;
mod table;
mod world;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use portolan_catalog::lake::Lake;

use configured::{Documentary, Mariadb};
use differ::{Against, Finding, Plan, check};
use doors::Door;
use memory::Manner;
use stores::{DeltaLake, Documents, Parquet, Postgres, Store};
use table::tables;
use world::{REFERENCE, Way, World};

/// The word that makes this binary the command behind `cargo x oracle`.
const AS_COMMAND: &str = "ask";
/// Queries of the ordinary test.
const QUERIES: u64 = 2_000;
/// Seed of the ordinary test.
const SEED: u64 = 7;
/// Queries within which a planted bug must be found.
const PLANTED_WITHIN: u64 = 1_000;
/// Hostile texts of the ordinary test.
const HOSTILE: u64 = 2_000;
/// Questions asked side by side.
const ASKERS: usize = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == AS_COMMAND) {
        return match command(&arguments[1..]) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                say(&format!("error: {error:#}"));
                ExitCode::from(2)
            }
        };
    }
    let trials = vec![
        Trial::test("two_thousand_queries_give_one_answer", || {
            let found = asked(&Request { queries: QUERIES, seed: SEED, ..Request::default() })?;
            if found.is_empty() { Ok(()) } else { Err(listed(&found).into()) }
        }),
        Trial::test("no_hostile_text_escapes_or_changes_a_row", || {
            let found = attacked(SEED, HOSTILE)?;
            if found.is_empty() { Ok(()) } else { Err(listed(&found).into()) }
        }),
        planted("a_caseless_equal_that_claims_to_be_exact_is_found", Manner::CaselessEqual),
        planted("a_superset_that_claims_to_be_exact_is_found", Manner::LooseRange),
        planted("a_top_n_that_misplaces_nulls_is_found", Manner::NullsAside),
        planted("a_negation_that_keeps_nulls_is_found", Manner::NullsDiffer),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn say(line: &str) {
    // A reader that has gone wants no more lines.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn listed(found: &[Finding]) -> String {
    let mut text = format!("{} differences\n\n", found.len());
    text.push_str(
        &found.iter().take(5).map(|finding| finding.report.clone()).collect::<Vec<_>>().join("\n\n"),
    );
    text
}

/// What is asked for.
#[derive(Debug, Clone)]
struct Request {
    queries: u64,
    first: u64,
    seed: u64,
    /// Every way for every query, instead of some in turn.
    thorough: bool,
    /// Differences after which it ends.
    most: usize,
    planted: Option<Manner>,
    /// MariaDB and MongoDB are asked as well.
    wide: bool,
    /// Findings are printed as they come.
    aloud: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            queries: QUERIES,
            first: 0,
            seed: SEED,
            thorough: false,
            most: 20,
            planted: None,
            wide: false,
            aloud: false,
        }
    }
}

fn command(arguments: &[String]) -> Result<bool> {
    // Internal errors show their cause here only.
    tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::ERROR).init();
    let mut request = Request::default();
    let mut texts = None;
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let mut number = || -> Result<u64> {
            match rest.next() {
                Some(value) => Ok(value.parse()?),
                None => bail!("{name} wants a number"),
            }
        };
        match name.as_str() {
            "--queries" => request.queries = number()?,
            "--seed" => request.seed = number()?,
            "--first" => request.first = number()?,
            "--most" => request.most = usize::try_from(number()?)?,
            "--wide" => request.wide = true,
            "--hostile" => texts = Some(number()?),
            "--thorough" => request.thorough = true,
            other => bail!("unknown option {other}"),
        }
    }
    let started = Instant::now();
    if let Some(count) = texts {
        let found = attacked(request.seed, count)?;
        if !found.is_empty() {
            say(&listed(&found));
        }
        say(&format!("{count} hostile texts, {} differences", found.len()));
        return Ok(found.is_empty());
    }
    request.aloud = true;
    let found = asked(&request)?;
    say(&format!("seed {}, {:.1} s", request.seed, started.elapsed().as_secs_f64()));
    say(&format!("{} queries, {} differences", request.queries, found.len()));
    Ok(found.is_empty())
}

fn planted(name: &str, manner: Manner) -> Trial {
    Trial::test(name, move || -> Result<(), Failed> {
        let request =
            Request { queries: PLANTED_WITHIN, most: 1, planted: Some(manner), ..Request::default() };
        match asked(&request)?.first() {
            Some(finding) if finding.report.contains("planted") => Ok(()),
            Some(finding) => Err(format!("another difference was found: {}", finding.report).into()),
            None => Err(format!("{manner:?} was not found in {PLANTED_WITHIN} queries").into()),
        }
    })
}

/// Asks every server with hostile texts.
fn attacked(seed: u64, count: u64) -> Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let found = runtime.block_on(async {
        let tables = hostile::tables(seed);
        let postgres = Postgres { url: servers::postgres()?, namespace: "oracle_hostile" };
        postgres.prepare().await?;
        let database = format!("oracle_hostile_{}", std::process::id());
        let folder = tempfile::tempdir()?;
        let maria = Mariadb { url: servers::mysql()?, database, folder: folder.path().to_owned() };
        maria.prepare().await?;
        let stores: [&dyn Store; 2] = [&postgres, &maria];
        let world = World::open(&stores, Manner::Good, &tables, None).await?;
        let asker = world.asker().await?;
        let mut found = Vec::new();
        for store in stores {
            found.extend(hostile::hostile(&asker, store.schema(), &tables, (seed, count)).await?);
        }
        postgres.clear().await?;
        maria.clear().await?;
        Ok(found)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    found
}

/// Loads the stores and asks.
fn asked(request: &Request) -> Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let found = runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let tables = tables();
        if let Some(manner) = request.planted {
            let world = World::open(&[], manner, &tables, None).await?;
            let plan = Plan { always: vec![on("planted")], turns: vec![], each: 0, split: 0 };
            return run(&world, &plan, request).await;
        }
        let postgres = Postgres { url: servers::postgres()?, namespace: "oracle_source" };
        postgres.prepare().await?;
        let documents = Documents { folder: folder.path().join("docs") };
        let parquet = Parquet { folder: folder.path().join("files") };
        let lake = DeltaLake { lake: Lake::open_local(&folder.path().join("lake"))? };
        let mut stores: Vec<&dyn Store> = vec![&postgres, &documents, &parquet, &lake];
        let database = format!("oracle_{}", std::process::id());
        let others = if request.wide { Some(others(&database, folder.path())?) } else { None };
        if let Some((maria, mongo)) = &others {
            maria.prepare().await?;
            stores.extend([maria as &dyn Store, mongo as &dyn Store]);
        }
        let world =
            World::open(&stores, Manner::Good, &tables, Some((postgres.url.clone(), postgres.plain())))
                .await?;
        let found = run(&world, &plan(request), request).await;
        postgres.clear().await?;
        if let Some((maria, mongo)) = &others {
            maria.clear().await?;
            mongo.clear().await?;
        }
        found
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    found
}

fn others(database: &str, folder: &Path) -> Result<(Mariadb, Documentary)> {
    let maria = Mariadb { url: servers::mysql()?, database: database.to_owned(), folder: folder.to_owned() };
    let mongo = Documentary { url: servers::mongodb()?, database: database.to_owned() };
    Ok((maria, mongo))
}

const fn on(schema: &'static str) -> Against {
    Against::Way(Way::of(schema, true))
}

/// The ways of the real stores.
fn plan(request: &Request) -> Plan {
    let mut turns = vec![
        Against::Plain,
        on("files"),
        Against::Way(Way::of("pg", false)),
        Against::Plain,
        on("docs"),
        Against::Way(Way::of("pg", true).moved("docs")),
        Against::Plain,
        on("bronze"),
        Against::Way(Way::of("pg", true).narrow()),
        Against::Plain,
        Against::Way(Way::of("bronze", true).moved("pg")),
        Against::Way(Way::of("files", true).moved("pg").narrow()),
        Against::Plain,
        Against::Way(Way::of(REFERENCE, true)),
        Against::Door(Door::Simple),
        Against::Plain,
        Against::Door(Door::Extended),
        Against::Door(Door::Flight),
    ];
    if request.wide {
        turns.extend([
            on("maria"),
            on("mongo"),
            Against::Way(Way::of("maria", false)),
            Against::Way(Way::of("mongo", false)),
            Against::Way(Way::of("maria", true).moved("pg")),
            Against::Way(Way::of("mongo", true).moved("maria")),
        ]);
    }
    let each = if request.thorough { turns.len() + 1 } else { 1 };
    // Otherwise every second query goes to the PostgreSQL source.
    let turns = if request.thorough {
        turns.into_iter().chain([on("pg")]).collect()
    } else {
        turns.into_iter().flat_map(|turn| [on("pg"), turn]).collect()
    };
    Plan { always: vec![], turns, each, split: if request.thorough { 2 } else { 20 } }
}

async fn run(world: &World, plan: &Plan, request: &Request) -> Result<Vec<Finding>> {
    let next = AtomicU64::new(request.first);
    let end = request.first + request.queries;
    let found = tokio::sync::Mutex::new(Vec::new());
    let ask = || async {
        let asker = world.asker().await?;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= end || found.lock().await.len() >= request.most {
                return Ok::<_, anyhow::Error>(());
            }
            if let Some(finding) = Box::pin(check(&asker, plan, request.seed, index)).await? {
                if request.aloud {
                    say(&format!("{}\n", finding.report));
                }
                found.lock().await.push(finding);
            }
        }
    };
    futures::future::try_join_all((0..ASKERS).map(|_| ask())).await?;
    let mut found = found.into_inner();
    found.truncate(request.most);
    found.sort_by(|left: &Finding, right: &Finding| left.title.cmp(&right.title));
    Ok(found)
}
