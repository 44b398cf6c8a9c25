//! A port as one file: sources, pipelines, KPIs, where lake and warehouse are kept, and who may ask.
//!
//! What `portolan ingest` and `portolan serve` open with `--config`. Reading the file contacts no store and reads no
//! secret; opening it dials the warehouse only. Paths are relative to the file. Lake and warehouse lie in a data
//! directory outside it, so that a configuration in version control never fills with data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portolan_catalog::Catalog;
use portolan_catalog::config::{FilesConfig, OpenContext, PostgresConfig, SourceConfig, SourcesConfig};
use portolan_catalog::embedded::{EmbeddedConfig, EmbeddedPostgres};
use portolan_catalog::files::FilesSource;
use portolan_catalog::lake::{Lake, LakeRoot, LakeSource, StoreLimits};
use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::secret::SecretRef;
use portolan_catalog::snapshot::SchemaSnapshots;
use portolan_catalog::source::{Source, SourceName};
use portolan_ingest::{Diagnostic, ErrorClass, Ingest, IngestConfig, IngestError, Pipelines, load_pipelines};
use portolan_semantic::Loaded;
use serde::Deserialize;

use crate::scaleout::WorkerUrl;

mod sources;

/// Names a source may not have: they are schemas or sources of the product.
const RESERVED: [&str; 6] = ["lake", "warehouse", "kpi", "kpi_flat", "system", "public"];

/// Schema of the warehouse that holds the star.
const STAR: &str = "star";

/// The file's keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectFile {
    /// Names the port, and its data directory when nothing else does.
    name: SourceName,
    /// Where lake and warehouse are kept; by default `~/.local/share/portolan/<name>`.
    data_dir: Option<PathBuf>,
    /// Directory of the lake, or `hdfs://host:port/folder`; `lake` in the data directory by default.
    lake: Option<String>,
    /// The warehouse: `embedded`, or `{ postgres: … }`.
    #[serde(default)]
    warehouse: Warehouse,
    /// Sources by name.
    sources: SourcesConfig,
    /// Folder of pipelines, their SQL and crosswalks.
    pipelines: PathBuf,
    /// Tables that pipelines read elsewhere than their files say: `schema.table: schema.table`.
    #[serde(default)]
    instead: BTreeMap<String, String>,
    /// Folder of KPI definitions.
    kpis: Option<PathBuf>,
    /// Who may log in, by name.
    #[serde(default)]
    users: BTreeMap<String, User>,
    /// Processes that may do parts of statements: `portolan worker`.
    #[serde(default)]
    workers: Vec<WorkerUrl>,
}

/// Where ledger and star are kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Warehouse {
    /// A PostgreSQL inside this program, in the data directory.
    #[default]
    Embedded,
    /// A PostgreSQL elsewhere.
    Postgres(Box<PostgresConfig>),
}

/// One user.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    /// Where the password is.
    password: SecretRef,
}

/// What the command line says instead of the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides<'a> {
    /// Folders of file sources: `<source>=<folder>`, or a bare folder when there is one file source.
    pub feeds: &'a [String],
    /// Where lake and warehouse are kept.
    pub data_dir: Option<&'a Path>,
}

/// A port's file, read and checked.
#[derive(Debug)]
pub struct Project {
    /// The port's name.
    pub name: String,
    /// Where lake and warehouse are kept.
    pub data_dir: PathBuf,
    /// KPI definitions with all their mistakes; `None` when the file names no folder.
    pub kpis: Option<Loaded>,
    /// Where each user's password is.
    pub users: BTreeMap<String, SecretRef>,
    /// Where workers listen; usually there are none.
    pub workers: Vec<WorkerUrl>,
    lake: LakeRoot,
    warehouse: Warehouse,
    sources: SourcesConfig,
    pipelines: Pipelines,
}

/// A project's stores, opened.
#[derive(Debug)]
pub struct Stores {
    /// The sources, and what ingest makes of them.
    pub catalog: Arc<Catalog>,
    /// The ingest jobs.
    pub ingest: Arc<Ingest>,
    /// Bronze, silver, gold and quarantine.
    pub lake: Lake,
    /// Ledger, and the star if a pipeline publishes to it.
    pub warehouse: PostgresPool,
    embedded: Option<EmbeddedPostgres>,
}

impl Stores {
    /// Stops the embedded warehouse, if that is what it is.
    pub async fn shutdown(self) {
        if let Some(embedded) = self.embedded {
            embedded.shutdown().await;
        }
    }
}

fn refused(message: impl Into<String>) -> IngestError {
    IngestError::new(ErrorClass::Config, message)
}

fn unreadable(what: &str, path: &Path, error: &std::io::Error) -> IngestError {
    refused(format!("{what} \"{}\" {}", path.display(), why(error, "cannot be read")))
}

/// What kept a file or directory from being used, in words.
fn why(error: &std::io::Error, otherwise: &'static str) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist",
        std::io::ErrorKind::PermissionDenied => "may not be used: permission denied",
        std::io::ErrorKind::NotADirectory => "lies below something that is no directory",
        std::io::ErrorKind::InvalidData => "is not UTF-8 text",
        _ => otherwise,
    }
}

impl Project {
    /// Reads a port's file, its pipelines and its KPIs. Contacts nobody.
    ///
    /// # Errors
    /// Class `config`: the mistake of the file with line and column, or all mistakes of its pipelines. Mistakes in
    /// KPI files are kept in [`Project::kpis`]: they disable their own KPIs only.
    pub fn read(file: &Path, overrides: Overrides<'_>) -> Result<Self, IngestError> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            unreadable("configuration", file, &error).with_hint("name the port's file with --config")
        })?;
        let parsed: ProjectFile =
            portolan_catalog::yaml::parse(file, &text).map_err(|error| refused(error.to_string()))?;
        let ProjectFile {
            name,
            data_dir,
            lake,
            warehouse,
            mut sources,
            pipelines,
            instead,
            kpis,
            users,
            workers,
        } = parsed;
        let base = file.parent().unwrap_or_else(|| Path::new("")).to_path_buf();
        for source in sources.0.keys() {
            if RESERVED.contains(&source.as_str()) {
                return Err(refused(format!("a source cannot be named \"{source}\""))
                    .with_hint("the name is used by Portolan itself; choose another"));
            }
        }
        locate(&mut sources, &base, overrides.feeds)?;
        let mut pipelines = checked_pipelines(&base.join(pipelines))?;
        redirect(&mut pipelines, &instead)?;
        let kpis = kpis.map(|folder| load_kpis(&base.join(folder))).transpose()?;
        let data_dir = match (overrides.data_dir, data_dir) {
            (Some(chosen), _) => chosen.to_path_buf(),
            (None, Some(named)) => base.join(named),
            (None, None) => default_data_dir(name.as_str())?,
        };
        let lake = match lake {
            Some(lake) => LakeRoot::parse(&lake, &base)?,
            None => LakeRoot::Directory(data_dir.join("lake")),
        };
        let mut warehouse = warehouse;
        if let Warehouse::Postgres(config) = &mut warehouse {
            if config.schema != "public" {
                return Err(refused("the warehouse has no \"schema\" to choose")
                    .with_hint("remove the key; ledger and star have schemas of their own"));
            }
            if !config.tables.is_empty() || !config.columns.is_empty() {
                return Err(refused("the warehouse has neither \"tables\" nor \"columns\" to declare")
                    .with_hint("remove the keys; what is in the star is known"));
            }
            relocate(&mut config.password, &base);
            config.tls_ca = config.tls_ca.take().map(|path| base.join(path));
        }
        let users = users.into_iter().map(|(name, user)| (name, relative_to(user.password, &base))).collect();
        let name = name.to_string();
        Ok(Self { name, data_dir, kpis, users, workers, lake, warehouse, sources, pipelines })
    }

    /// The sources, as declared.
    #[must_use]
    pub const fn sources(&self) -> &SourcesConfig {
        &self.sources
    }

    /// Names of the pipelines.
    #[must_use]
    pub fn pipeline_names(&self) -> Vec<&str> {
        self.pipelines.names()
    }

    /// Plans every query of the pipelines, without touching a source.
    ///
    /// # Errors
    /// Class `config`, with all mistakes.
    pub async fn check_plans(&self) -> Result<(), IngestError> {
        all_or_nothing(&self.pipelines.check_plans().await?)
    }

    /// Makes the data directory and opens lake, warehouse and sources. `executable` is this program: it is also the
    /// child that an embedded warehouse runs in. No source is dialled.
    ///
    /// # Errors
    /// A data directory that cannot be written, or a warehouse that cannot be reached or is in use.
    pub async fn open(&self, executable: &Path) -> Result<Stores, IngestError> {
        std::fs::create_dir_all(&self.data_dir).map_err(|error| {
            let why = why(&error, "cannot be made");
            refused(format!("data directory \"{}\" {why}", self.data_dir.display()))
                .with_hint("name another with --data-dir")
        })?;
        let lake = Lake::open(&self.lake, StoreLimits::default())?;
        let (warehouse, embedded) = self.open_warehouse(executable).await?;
        let name = |text: &str| SourceName::try_new(text).map_err(IngestError::invariant);
        let mut builder = Catalog::builder()
            .snapshots(SchemaSnapshots::new(self.data_dir.join("sources")))
            .add(Arc::new(LakeSource::new(name("lake")?, lake.clone())));
        if self.pipelines.publishes() {
            let star = PostgresSource::new(name("warehouse")?, warehouse.clone(), STAR);
            builder = builder.add(Arc::new(star));
        }
        let mut files = BTreeMap::new();
        for (name, config) in &self.sources.0 {
            let opened: Arc<dyn Source> = match config {
                SourceConfig::Files(config) => {
                    let opened = Arc::new(FilesSource::open(name.clone(), config.clone())?);
                    let schema = config.schema.clone().unwrap_or_else(|| name.to_string());
                    files.insert(schema, Arc::clone(&opened));
                    opened
                }
                SourceConfig::Postgres(_)
                | SourceConfig::Lake(_)
                | SourceConfig::Rest(_)
                | SourceConfig::Mysql(_)
                | SourceConfig::Mongodb(_)
                | SourceConfig::Kafka(_) => config.open(name, &OpenContext::default())?,
            };
            builder = builder.add(opened);
        }
        let catalog = builder.build()?;
        let ingest = Ingest::open(IngestConfig {
            catalog: Arc::clone(&catalog),
            files,
            lake: lake.clone(),
            warehouse: Some(warehouse.clone()),
            pipelines: self.pipelines.clone(),
        });
        ingest.bootstrap().await?;
        Ok(Stores { catalog, ingest: Arc::new(ingest), lake, warehouse, embedded })
    }

    async fn open_warehouse(
        &self,
        executable: &Path,
    ) -> Result<(PostgresPool, Option<EmbeddedPostgres>), IngestError> {
        match &self.warehouse {
            Warehouse::Postgres(config) => {
                let name = SourceName::try_new("warehouse").map_err(IngestError::invariant)?;
                Ok((PostgresPool::configured(&name, config)?, None))
            }
            Warehouse::Embedded => {
                let config = EmbeddedConfig {
                    name: "warehouse".to_owned(),
                    data_dir: self.data_dir.join("warehouse"),
                    executable: executable.to_path_buf(),
                    database: "warehouse".to_owned(),
                };
                let started = EmbeddedPostgres::start(config).await?;
                Ok((PostgresPool::Embedded(started.clone()), Some(started)))
            }
        }
    }
}

/// Makes the roots of file sources and the places of secrets what they mean: overridden, or relative to the file.
fn locate(sources: &mut SourcesConfig, base: &Path, feeds: &[String]) -> Result<(), IngestError> {
    let mut file_sources: BTreeMap<String, &mut FilesConfig> = BTreeMap::new();
    for (name, source) in &mut sources.0 {
        match source {
            SourceConfig::Files(config) => {
                config.root = base.join(&config.root);
                file_sources.insert(name.to_string(), config);
            }
            SourceConfig::Postgres(config) => relocate(&mut config.password, base),
            SourceConfig::Mysql(config) => relocate(&mut config.password, base),
            SourceConfig::Mongodb(config) => relocate(&mut config.password, base),
            SourceConfig::Lake(config) => {
                if !config.root.contains("://") {
                    config.root = base.join(&config.root).to_string_lossy().into_owned();
                }
            }
            SourceConfig::Rest(_) | SourceConfig::Kafka(_) => {}
        }
    }
    for feed in feeds {
        let named = feed.split_once('=').filter(|(name, _)| file_sources.contains_key(*name));
        let known: Vec<String> = file_sources.keys().cloned().collect();
        let (name, folder) = match (named, known.as_slice()) {
            (Some((name, folder)), _) => (name.to_owned(), folder),
            (None, [only]) => (only.clone(), feed.as_str()),
            (None, []) => {
                return Err(refused(format!("\"{feed}\" has no use: no source reads files")));
            }
            (None, several) => {
                return Err(refused(format!("\"{feed}\" could be the folder of several sources"))
                    .with_hint(format!("write <source>=<folder>; sources are {}", several.join(", "))));
            }
        };
        if let Some(config) = file_sources.get_mut(&name) {
            config.root = PathBuf::from(folder);
        }
    }
    Ok(())
}

fn redirect(pipelines: &mut Pipelines, instead: &BTreeMap<String, String>) -> Result<(), IngestError> {
    for (from, to) in instead {
        let both = from.split_once('.').zip(to.split_once('.'));
        let (from_table, to_table) = both.ok_or_else(|| {
            refused(format!("\"{from}: {to}\" under \"instead\" must be two tables, each as schema.table"))
        })?;
        if pipelines.redirect(from_table, to_table) == 0 {
            return Err(refused(format!("no pipeline reads \"{from}\", which \"instead\" names"))
                .with_hint("write the table as the pipeline's source does"));
        }
    }
    Ok(())
}

fn relocate(secret: &mut Option<SecretRef>, base: &Path) {
    *secret = secret.take().map(|secret| relative_to(secret, base));
}

fn relative_to(secret: SecretRef, base: &Path) -> SecretRef {
    match secret {
        SecretRef::File(path) => SecretRef::File(base.join(path)),
        SecretRef::Env(name) => SecretRef::Env(name),
    }
}

fn checked_pipelines(folder: &Path) -> Result<Pipelines, IngestError> {
    let (pipelines, mistakes) = load_pipelines(folder);
    all_or_nothing(&mistakes).map(|()| pipelines)
}

/// All mistakes as one refusal, a line each.
fn all_or_nothing(mistakes: &[Diagnostic]) -> Result<(), IngestError> {
    if mistakes.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    Err(refused(lines.join("\n")))
}

/// Reads every `*.yaml` of a folder, in name order.
fn load_kpis(folder: &Path) -> Result<Loaded, IngestError> {
    let unreadable = |path: &Path, error: &std::io::Error| unreadable("kpi folder", path, error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        files.push((path, text));
    }
    Ok(portolan_semantic::load(&files))
}

fn default_data_dir(name: &str) -> Result<PathBuf, IngestError> {
    let home = std::env::home_dir().ok_or_else(|| {
        refused("no home directory is known").with_hint("name a data directory with --data-dir")
    })?;
    Ok(home.join(".local/share/portolan").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: &str = "name: p\npipelines: pipelines\nsources:\n  a: {files: {root: feeds, tables: {}}}\n";

    fn read(text: &str, feeds: &[&str]) -> Result<Project, IngestError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("pipelines")).unwrap();
        let file = directory.path().join("portolan.yaml");
        std::fs::write(&file, text).unwrap();
        let feeds: Vec<String> = feeds.iter().map(|feed| (*feed).to_owned()).collect();
        Project::read(&file, Overrides { feeds: &feeds, data_dir: Some(Path::new("/data")) })
    }

    fn root(project: &Project, source: &str) -> PathBuf {
        project
            .sources
            .0
            .iter()
            .find_map(|(name, config)| match config {
                SourceConfig::Files(config) if name.as_str() == source => Some(config.root.clone()),
                _ => None,
            })
            .unwrap()
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        let refused = |text: &str| read(text, &[]).map(drop).unwrap_err().message;
        let unknown = refused(&PORT.replace("pipelines:", "pipeline:"));
        assert!(unknown.contains("portolan.yaml:2:1: unknown key \"pipeline\""), "{unknown}");
        assert!(unknown.contains("did you mean \"pipelines\"?"), "{unknown}");
        let plain = refused(&format!("{PORT}users: {{demo: {{password: hunter2}}}}\n"));
        assert!(plain.contains("a secret must not be written here") && !plain.contains("hunter2"), "{plain}");
        let kind = refused(&format!("{PORT}warehouse: {{postgre: {{}}}}\n"));
        assert!(kind.contains("portolan.yaml:5:13: unknown kind \"postgre\""), "{kind}");
        assert!(refused(&PORT.replace("  a:", "  lake:")).contains("cannot be named \"lake\""));
        assert!(refused(&PORT.replace("name: p\n", "")).contains("\"name\" is missing"));
        let nobody = refused(&format!("{PORT}instead: {{a.b: c.d}}\n"));
        assert!(nobody.contains("no pipeline reads \"a.b\""), "{nobody}");
        let table = refused(&format!("{PORT}instead: {{a.b: c}}\n"));
        assert!(table.contains("each as schema.table"), "{table}");
    }

    #[test]
    fn the_shipped_production_file_is_read() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/portolan.yaml");
        let overrides = Overrides { feeds: &[], data_dir: Some(Path::new("/data")) };
        let project = Project::read(&file, overrides).unwrap();
        let sources: Vec<String> = project.sources().0.keys().map(ToString::to_string).collect();
        assert_eq!(sources, ["ais", "events", "movements", "tos", "weather"]);
        assert!(project.kpis.is_some_and(|kpis| kpis.diagnostics.is_empty()));
    }

    #[test]
    fn a_folder_takes_the_place_of_a_root_and_must_be_clear() {
        assert_eq!(root(&read(PORT, &["/feeds"]).unwrap(), "a"), Path::new("/feeds"));
        assert!(root(&read(PORT, &[]).unwrap(), "a").is_absolute());
        let two = format!("{PORT}  b: {{files: {{root: /b, tables: {{}}}}}}\n");
        let error = read(&two, &["/feeds"]).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("write <source>=<folder>; sources are a, b"));
        let project = read(&two, &["b=/feeds=1"]).unwrap();
        assert_eq!(root(&project, "b"), Path::new("/feeds=1"));
        assert_eq!(project.lake, LakeRoot::Directory("/data/lake".into()));
        let far = read(&format!("{PORT}lake: 'hdfs://nn:8020/p'\n"), &[]).unwrap();
        assert!(matches!(&far.lake, LakeRoot::Hdfs(url) if url.as_str() == "hdfs://nn:8020/p/"));
        let refused = read(&format!("{PORT}lake: 's3://p'\n"), &[]).unwrap_err();
        assert!(refused.message.contains("cannot lie on \"s3\""), "{}", refused.message);
    }

    #[test]
    fn a_secret_file_is_found_beside_the_configuration() {
        let project = read(&format!("{PORT}users: {{demo: {{password: {{file: pw}}}}}}\n"), &[]).unwrap();
        let Some(SecretRef::File(path)) = project.users.get("demo") else { panic!("{:?}", project.users) };
        assert!(path.is_absolute() && path.ends_with("pw"), "{path:?}");
    }
}
