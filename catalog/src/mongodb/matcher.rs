//! Conditions in the form `$match` takes, and how they combine.
//!
//! Conditions are joined as lists of whole conditions, never by merging documents: two conditions on one field must
//! both hold.

use mongodb::bson::{Bson, Document, doc};

/// The documents a condition lets through.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Matcher {
    All,
    Nothing,
    Some(Document),
}

impl Matcher {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => Self::Nothing,
            (Self::All, one) | (one, Self::All) => one,
            (Self::Some(left), Self::Some(right)) => joined("$and", left, right),
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (Self::Some(left), Self::Some(right)) => joined("$or", left, right),
        }
    }

    /// Every other document.
    pub(super) fn complement(self) -> Self {
        match self {
            Self::All => Self::Nothing,
            Self::Nothing => Self::All,
            Self::Some(condition) => Self::Some(doc! { "$nor": [condition] }),
        }
    }

    /// The argument of `$match`; `None` if there is nothing to ask.
    pub(super) fn into_document(self) -> Option<Document> {
        match self {
            Self::All => None,
            Self::Nothing => Some(doc! { "_id": { "$in": [] } }),
            Self::Some(condition) => Some(condition),
        }
    }
}

fn joined(word: &str, left: Document, right: Document) -> Matcher {
    let mut conditions = Vec::new();
    for side in [left, right] {
        match side.get(word) {
            Some(Bson::Array(inner)) if side.len() == 1 => conditions.extend(inner.iter().cloned()),
            _ => conditions.push(Bson::Document(side)),
        }
    }
    let mut condition = Document::new();
    condition.insert(word, conditions);
    Matcher::Some(condition)
}
