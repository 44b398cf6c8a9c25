//! The stores that are opened from configuration, as a port's file does it: MariaDB and MongoDB.
//!
//! Their columns are the ones that mean trouble: text under a collation without case, an enum whose order is not the
//! alphabet's, fields that some documents have and others do not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use async_trait::async_trait;
use mongodb::bson::{Bson, Decimal128, Document};
use mysql_async::prelude::Queryable;
use mysql_async::{Opts, OptsBuilder, Params, Value};
use portolan_catalog::config::{OpenContext, SourcesConfig};
use portolan_catalog::source::{Source, SourceName};

use crate::stores::Store;
use crate::table::{Kind, LogicalTable, WORDS};

/// Opens the one source of a configuration.
fn open(schema: &str, text: &str) -> Result<Arc<dyn Source>> {
    let sources: SourcesConfig = portolan_catalog::yaml::parse(Path::new("oracle.yaml"), text)?;
    let name = SourceName::try_new(schema).map_err(|error| anyhow!(error))?;
    let config = sources.0.get(&name).context("the source just written")?;
    Ok(config.open(&name, &OpenContext::default())?)
}

/// A real MariaDB or MySQL.
#[derive(Debug)]
pub(crate) struct Mariadb {
    pub(crate) url: String,
    pub(crate) database: String,
    /// Where the password is written for the source to read.
    pub(crate) folder: PathBuf,
}

fn backticked(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Mariadb {
    async fn connect(&self) -> Result<mysql_async::Conn> {
        let options = OptsBuilder::from_opts(Opts::from_url(&self.url)?);
        mysql_async::Conn::new(options).await.context("connect to the test MariaDB")
    }

    /// Makes the database anew.
    pub(crate) async fn prepare(&self) -> Result<()> {
        let mut connection = self.connect().await?;
        connection.query_drop(format!("DROP DATABASE IF EXISTS {}", self.database)).await?;
        connection.query_drop(format!("CREATE DATABASE {} CHARACTER SET utf8mb4", self.database)).await?;
        Ok(connection.disconnect().await?)
    }

    /// Takes the database away.
    pub(crate) async fn clear(&self) -> Result<()> {
        let mut connection = self.connect().await?;
        connection.query_drop(format!("DROP DATABASE IF EXISTS {}", self.database)).await?;
        Ok(connection.disconnect().await?)
    }

    fn type_of(kind: Kind) -> String {
        match kind {
            Kind::Bool => "bit(1)".into(),
            Kind::Int2 => "smallint".into(),
            Kind::Int4 => "int".into(),
            Kind::Int8 => "bigint".into(),
            Kind::Float8 | Kind::SignedZero => "double".into(),
            Kind::Numeric(precision, scale) => format!("decimal({precision},{scale})"),
            Kind::Text => "varchar(200) COLLATE utf8mb4_general_ci".into(),
            Kind::Word => format!("enum('{}') COLLATE utf8mb4_general_ci", WORDS.join("','")),
            Kind::Date => "date".into(),
            Kind::Timestamp => "datetime(6)".into(),
            Kind::Timestamptz => "timestamp(6)".into(),
        }
    }
}

#[async_trait]
impl Store for Mariadb {
    fn schema(&self) -> &'static str {
        "maria"
    }

    /// No float that is not a number, no instant before 1970 or after 2038.
    fn lacks(&self) -> &'static [Kind] {
        &[Kind::Float8, Kind::SignedZero, Kind::Timestamptz]
    }

    async fn load(&self, table: &LogicalTable) -> Result<()> {
        let mut connection = self.connect().await?;
        connection.query_drop("SET sql_mode = 'STRICT_ALL_TABLES', time_zone = '+00:00'").await?;
        let kept: Vec<usize> = (0..table.columns.len())
            .filter(|index| !self.lacks().contains(&table.columns[*index].kind))
            .collect();
        let columns: Vec<String> = kept
            .iter()
            .map(|index| {
                let column = table.columns[*index];
                format!("{} {} NULL", backticked(column.name), Self::type_of(column.kind))
            })
            .collect();
        let target = format!("{}.{}", self.database, backticked(table.name));
        connection.query_drop(format!("DROP TABLE IF EXISTS {target}")).await?;
        connection.query_drop(format!("CREATE TABLE {target} ({})", columns.join(", "))).await?;
        let holes = vec!["?"; kept.len()].join(", ");
        for row in &table.rows {
            let values = kept.iter().map(|index| match (&row[*index], table.columns[*index].kind) {
                (None, _) => Value::NULL,
                (Some(text), Kind::Bool) => Value::Int(i64::from(text == "true")),
                (Some(text), _) => Value::Bytes(text.clone().into_bytes()),
            });
            let values = Params::Positional(values.collect());
            connection.exec_drop(format!("INSERT INTO {target} VALUES ({holes})"), values).await?;
        }
        Ok(connection.disconnect().await?)
    }

    fn open(&self, _tables: &[LogicalTable]) -> Result<Arc<dyn Source>> {
        self.source("maria", 4)
    }
}

impl Mariadb {
    /// The database as a source of a name, through so many connections.
    fn source(&self, schema: &str, connections: usize) -> Result<Arc<dyn Source>> {
        let options = Opts::from_url(&self.url)?;
        let password = self.folder.join("maria.password");
        std::fs::write(&password, options.pass().unwrap_or_default())?;
        let text = format!(
            "{schema}: {{ mysql: {{ host: \"{}\", port: {}, database: {}, user: \"{}\", connections: {connections}, \
             password: {{ file: \"{}\" }} }} }}\n",
            options.ip_or_hostname(),
            options.tcp_port(),
            self.database,
            options.user().unwrap_or_default(),
            password.display()
        );
        open(schema, &text)
    }
}

/// The same MariaDB through one connection: whatever a query reads of it, it reads one after the other.
#[derive(Debug)]
pub(crate) struct OneSlot<'a>(pub(crate) &'a Mariadb);

#[async_trait]
impl Store for OneSlot<'_> {
    fn schema(&self) -> &'static str {
        "slot"
    }

    fn lacks(&self) -> &'static [Kind] {
        self.0.lacks()
    }

    /// The rows are there already.
    async fn load(&self, _table: &LogicalTable) -> Result<()> {
        Ok(())
    }

    fn open(&self, _tables: &[LogicalTable]) -> Result<Arc<dyn Source>> {
        self.0.source(self.schema(), 1)
    }
}

/// A real MongoDB.
#[derive(Debug)]
pub(crate) struct Documentary {
    pub(crate) url: String,
    pub(crate) database: String,
}

fn bson(text: &str, kind: Kind) -> Result<Bson> {
    Ok(match kind {
        Kind::Bool => Bson::Boolean(text == "true"),
        Kind::Int2 | Kind::Int4 => Bson::Int32(text.parse()?),
        Kind::Int8 => Bson::Int64(text.parse()?),
        Kind::Float8 | Kind::SignedZero => Bson::Double(text.parse()?),
        Kind::Numeric(..) => Bson::Decimal128(text.parse::<Decimal128>()?),
        Kind::Text | Kind::Word | Kind::Date | Kind::Timestamp | Kind::Timestamptz => {
            Bson::String(text.to_owned())
        }
    })
}

impl Documentary {
    async fn database(&self) -> Result<mongodb::Database> {
        let client = mongodb::Client::with_uri_str(&self.url).await.context("connect to the test MongoDB")?;
        Ok(client.database(&self.database))
    }

    /// Takes the database away.
    pub(crate) async fn clear(&self) -> Result<()> {
        Ok(self.database().await?.drop().await?)
    }
}

#[async_trait]
impl Store for Documentary {
    fn schema(&self) -> &'static str {
        "mongo"
    }

    /// No day, no wall clock, and instants of milliseconds only.
    fn lacks(&self) -> &'static [Kind] {
        &[Kind::Date, Kind::Timestamp, Kind::Timestamptz]
    }

    async fn load(&self, table: &LogicalTable) -> Result<()> {
        let collection = self.database().await?.collection::<Document>(table.name);
        collection.drop().await?;
        self.database().await?.create_collection(table.name).await?;
        let mut documents = Vec::new();
        for (index, row) in table.rows.iter().enumerate() {
            let mut document = Document::new();
            for (at, (value, column)) in row.iter().zip(table.columns).enumerate() {
                match value {
                    Some(text) if !self.lacks().contains(&column.kind) => {
                        document.insert(column.key, bson(text, column.kind)?);
                    }
                    None if (index + at).is_multiple_of(2) => {
                        document.insert(column.key, Bson::Null);
                    }
                    _ => {}
                }
            }
            documents.push(document);
        }
        if !documents.is_empty() {
            collection.insert_many(documents).await?;
        }
        Ok(())
    }

    fn open(&self, tables: &[LogicalTable]) -> Result<Arc<dyn Source>> {
        let rest = self.url.strip_prefix("mongodb://").context("the URL of MongoDB")?;
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let mut text = format!(
            "mongo:\n  mongodb:\n    hosts: [\"{host}\"]\n    database: {}\n    discover: false\n    tables:\n",
            self.database
        );
        for table in tables {
            text.push_str(&format!("      {}:\n        columns:\n", table.name));
            for column in table.columns.iter().filter(|column| !self.lacks().contains(&column.kind)) {
                let name = serde_json::Value::from(column.name);
                let kind = column.kind.sql();
                text.push_str(&format!(
                    "          - {{ name: {name}, type: \"{kind}\", from: {} }}\n",
                    column.key
                ));
            }
        }
        open("mongo", &text)
    }
}
