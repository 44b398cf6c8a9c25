//! The differential oracle: generated queries over the same rows in every store must give one answer, whichever
//! store holds a table, whatever goes down, however many parts a plan has; and it is PostgreSQL's.
//!
//! Run as an ordinary test it asks some thousand queries; `cargo x oracle` asks as many as one likes. A difference
//! is made small, printed with its seed and its plans, and is a bug until it is written down as a difference.

mod configured;
mod differ;
mod doors;
mod expressions;
mod fewest;
mod generate;
mod hostile;
mod memory;
mod outcome;
mod pressure;
mod random;
mod record;
mod servers;
mod stores;
mod syntax;
mod table;
mod topics;
mod workers;
mod world;

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use portolan_catalog::lake::Lake;

use configured::{Documentary, Mariadb, OneSlot};
use differ::{Against, Finding, Plan, check};
use doors::Door;
use memory::Manner;
use stores::{DeltaLake, Documents, OneConnection, Parquet, Postgres, Store};
use table::tables;
use topics::Kafka;
use world::{REFERENCE, Shape, Way, World};

/// The word that makes this binary the command behind `cargo x oracle`.
const AS_COMMAND: &str = "ask";
/// The option that asks what wants too much, without a word.
const WANTING: &str = "--wanting";
/// Queries of the ordinary test.
const QUERIES: u64 = 2_000;
/// Seed of the ordinary test.
const SEED: u64 = 7;
/// Queries within which a planted bug must be found.
const PLANTED_WITHIN: u64 = 1_000;
/// Hostile texts of the ordinary test.
const HOSTILE: u64 = 4_000;
/// Questions asked side by side.
const ASKERS: usize = 4;
/// Findings whose rows are made fewer too; each loads the stores some fifty times.
const NARROWED: usize = 3;

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
        Trial::test("trap_f12_a_join_beyond_the_memory_is_refused_and_gives_it_back", || {
            pressed(true, false).map_err(Failed::from)
        }),
        Trial::test("two_hundred_statements_that_want_too_much_are_answered_or_refused", || {
            pressed_apart().map_err(Failed::from)
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
            "--hostile" => texts = Some(number()?),
            "--thorough" => request.thorough = true,
            "--pressure" => {
                pressed(true, true)?;
                pressed(false, true)?;
                return Ok(true);
            }
            WANTING => {
                pressed(false, false)?;
                return Ok(true);
            }
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

/// Asks for more than there is: of joins, or of everything.
fn pressed(joins: bool, aloud: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let wrong = runtime.block_on(async {
        let world = World::open(&[], Manner::Good, &tables(), None).await?;
        let asker = world.asker().await?;
        let tell = |line: &str| {
            if aloud {
                say(line);
            }
        };
        if joins { pressure::overfill(&asker).await } else { pressure::press(&asker, tell).await }
    })?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    if wrong.is_empty() { Ok(()) } else { bail!(wrong.join("\n")) }
}

/// Asks for too much in a process of its own, whose memory nobody else fills.
fn pressed_apart() -> Result<()> {
    let asked = std::process::Command::new(std::env::current_exe()?).args([AS_COMMAND, WANTING]).output()?;
    if asked.status.success() {
        return Ok(());
    }
    bail!("{}, {}", asked.status, String::from_utf8_lossy(&asked.stdout))
}

/// Asks every server with hostile texts.
fn attacked(seed: u64, count: u64) -> Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let found = runtime.block_on(async {
        let tables = hostile::tables(seed, count);
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
        let database = format!("oracle_{}", std::process::id());
        let maria =
            Mariadb { url: servers::mysql()?, database: database.clone(), folder: folder.path().to_owned() };
        maria.prepare().await?;
        let slot = OneSlot(&maria);
        let mongo = Documentary { url: servers::mongodb()?, database };
        let one = OneConnection(&postgres);
        let kafka = Kafka::new(servers::kafka()?);
        let stores: [&dyn Store; 9] =
            [&postgres, &one, &documents, &parquet, &lake, &maria, &slot, &mongo, &kafka];
        let plain = Some((postgres.url.clone(), postgres.plain()));
        let world = World::open(&stores, Manner::Good, &tables, plain.clone()).await?;
        let mut found = run(&world, &plan(request), request).await;
        drop(world);
        for finding in found.iter_mut().flatten().take(NARROWED) {
            if fewest::narrow(&stores, plain.as_ref(), &tables, finding).await? && request.aloud {
                say(&format!("{}\n", finding.report));
            }
        }
        postgres.clear().await?;
        maria.clear().await?;
        mongo.clear().await?;
        kafka.clear().await?;
        found
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    found
}

const fn on(schema: &'static str) -> Against {
    Against::Way(Way::of(schema, true))
}

/// The ways of the real stores.
fn plan(request: &Request) -> Plan {
    let turns = vec![
        Against::Plain,
        on("files"),
        on("maria"),
        Against::Way(Way::of("pg", false)),
        Against::Plain,
        on("mongo"),
        on("docs"),
        Against::Way(Way::of("pg", true).moved("docs")),
        Against::Plain,
        on("bronze"),
        Against::Way(Way::of("pg", true).shaped(Shape::Parts)),
        Against::Way(Way::of("maria", true).moved("pg")),
        Against::Plain,
        on("slot"),
        Against::Way(Way::of("bronze", true).moved("pg")),
        Against::Way(Way::of("bronze", true).shaped(Shape::Workers)),
        Against::Way(Way::of("files", true).moved("pg").shaped(Shape::Parts)),
        Against::Way(Way::of("mongo", true).moved("maria")),
        Against::Plain,
        Against::Way(Way::of(REFERENCE, true)),
        Against::Way(Way::of("maria", false)),
        Against::Door(Door::Simple),
        Against::Way(Way::of("pg", true).shaped(Shape::Steps)),
        Against::Plain,
        on("maria"),
        Against::Door(Door::Extended),
        Against::Way(Way::of("mongo", false)),
        Against::Way(Way::of("slot", true).moved("pg").shaped(Shape::Parts)),
        Against::Plain,
        on("mongo"),
        Against::Door(Door::Flight),
        Against::Way(Way::of("maria", true).shaped(Shape::Steps)),
        Against::Way(Way::of("bronze", true).moved("pg").shaped(Shape::Workers)),
        Against::Way(Way::of("pg", true).moved("mongo").shaped(Shape::Parts)),
        on("pgslot"),
        on("topics"),
        Against::Way(Way::of("pgslot", true).moved("slot").shaped(Shape::Parts)),
    ];
    if request.thorough {
        let turns: Vec<Against> = turns.into_iter().chain([on("pg")]).collect();
        return Plan { always: vec![], each: turns.len(), turns, split: 2 };
    }
    // Every query goes to the PostgreSQL source, and some other way.
    Plan { always: vec![on("pg")], turns, each: 1, split: 20 }
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
