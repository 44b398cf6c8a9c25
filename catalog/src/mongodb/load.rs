//! Fills a MongoDB collection with documents as they were received, so that there is a source to read.
//!
//! Each is kept whole in field `doc` beside the call it is about, under a number that keeps their order. It must never
//! touch a collection that it did not make: what it makes is written down in a database of its own.

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{ClientOptions, Credential, ServerAddress};
use mongodb::{Client, Collection};
use secrecy::ExposeSecret as _;

use super::MongodbConfig;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Database that tells what was loaded.
const MARKS: &str = "portolan_simulated";

/// Documents of one command.
const BATCH: usize = 1_000;

/// One document to store.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadDocument {
    /// What it is about, if it says so.
    pub call: Option<String>,
    /// The document as received.
    pub document: serde_json::Value,
}

/// Makes `collection` in the source's database and fills it, unless the same `plan` is there. Returns the documents
/// loaded now. `documents` is asked only when they are needed.
///
/// # Errors
/// `Unsupported` for a collection that something else made; what the server says; `Data` for a document that BSON
/// cannot hold.
pub async fn load(
    name: &SourceName,
    config: &MongodbConfig,
    plan: &str,
    collection: &str,
    documents: impl IntoIterator<Item = LoadDocument>,
) -> Result<u64, SourceError> {
    let failed = |error: mongodb::error::Error| {
        let message = format!("source \"{name}\": collection \"{collection}\" cannot be loaded");
        SourceError::new(SourceErrorKind::Remote, message).with_source(name).with_cause(error)
    };
    let client = Client::with_options(options(name, config)?).map_err(failed)?;
    let database = client.database(&config.database);
    let marks: Collection<Document> = client.database(MARKS).collection("loads");
    let key = format!("{}.{collection}", config.database);
    let mark = marks.find_one(doc! { "_id": &key }).await.map_err(failed)?;
    match mark {
        Some(mark) if mark.get_str("plan").ok() == Some(plan) && mark.get_bool("whole").unwrap_or(false) => {
            return Ok(0);
        }
        Some(_) => {}
        None => {
            if database.list_collection_names().await.map_err(failed)?.iter().any(|there| there == collection)
            {
                let message = format!(
                    "source \"{name}\": collection \"{collection}\" is there and no simulation made it"
                );
                return Err(SourceError::new(SourceErrorKind::Unsupported, message)
                    .with_source(name)
                    .with_hint("name another database, or drop the collection yourself"));
            }
        }
    }
    let state = |whole: bool| doc! { "_id": &key, "plan": plan, "whole": whole };
    marks.replace_one(doc! { "_id": &key }, state(false)).upsert(true).await.map_err(failed)?;
    let target: Collection<Document> = database.collection(collection);
    target.drop().await.map_err(failed)?;
    let mut number = 0_i64;
    let mut batch = Vec::with_capacity(BATCH);
    for LoadDocument { call, document } in documents {
        number += 1;
        let document = Bson::try_from(document).map_err(|error| {
            let message = format!("source \"{name}\": document {number} cannot be stored");
            SourceError::new(SourceErrorKind::Data, message).with_source(name).with_cause(error)
        })?;
        batch.push(doc! { "_id": number, "call": call, "doc": document });
        if batch.len() == BATCH {
            target.insert_many(std::mem::take(&mut batch)).await.map_err(failed)?;
        }
    }
    if !batch.is_empty() {
        target.insert_many(batch).await.map_err(failed)?;
    }
    marks.replace_one(doc! { "_id": &key }, state(true)).await.map_err(failed)?;
    Ok(u64::try_from(number).unwrap_or_default())
}

fn options(name: &SourceName, config: &MongodbConfig) -> Result<ClientOptions, SourceError> {
    let mut options = ClientOptions::default();
    let address = |host: &String| {
        ServerAddress::parse(host).map_err(|error| {
            let message = format!("source \"{name}\": \"{host}\" is no host with port");
            SourceError::new(SourceErrorKind::Data, message).with_source(name).with_cause(error)
        })
    };
    options.hosts = config.hosts.iter().map(address).collect::<Result<_, _>>()?;
    options.repl_set_name.clone_from(&config.replica_set);
    options.direct_connection = Some(config.hosts.len() == 1 && config.replica_set.is_none());
    options.app_name = Some("portolan".into());
    if let Some(user) = &config.user {
        let mut credential = Credential::default();
        credential.username = Some(user.clone());
        credential.source = Some(config.auth_source.clone());
        if let Some(password) = &config.password {
            credential.password = Some(password.resolve()?.expose_secret().to_owned());
        }
        options.credential = Some(credential);
    }
    Ok(options)
}
