//! Crosswalks: reviewed files that say which spellings mean the same thing.
//!
//! Matching is by exact code first, then by normalised name; nothing fuzzy ever decides. A spelling nobody reviewed
//! resolves to nothing, and its rows stay in the totals under the reserved key.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::yaml::{At, Fields};

/// Spellings of one domain.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crosswalk {
    codes: HashMap<String, String>,
    names: HashMap<String, String>,
}

/// All domains.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crosswalks(BTreeMap<String, Arc<Crosswalk>>);

impl Crosswalks {
    /// The canonical code of a spelling; `None` when the domain or the spelling is not known.
    pub(crate) fn resolve(&self, domain: &str, spelling: &str) -> Option<&str> {
        let walk = self.0.get(domain)?;
        let trimmed = spelling.trim();
        walk.codes.get(trimmed).or_else(|| walk.names.get(&normalise(trimmed))).map(String::as_str)
    }

    /// A digest over all entries: derived tables are remade when it changes.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (domain, walk) in &self.0 {
            let sorted: BTreeMap<_, _> = walk.codes.iter().chain(&walk.names).collect();
            hash.update(format!("{domain}{sorted:?}"));
        }
        hex(&hash.finalize())
    }
}

/// Lower-case hexadecimal text of bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads `domain: terminal` with `entries: [{canonical, codes, names}]`.
pub(crate) fn read(walks: &mut Crosswalks, domain: &At<String>, mut fields: Fields<'_>) {
    let sink = fields.sink;
    let mut walk = Crosswalk::default();
    for node in fields.list("entries") {
        let Some(mut entry) = sink.fields(node, "an entry") else { continue };
        let canonical = entry.required_text("canonical");
        let (codes, names) = (entry.texts("codes"), entry.texts("names"));
        let (line, column) = (entry.line, entry.column);
        entry.finish();
        let Some(canonical) = canonical else { continue };
        let own = canonical.value.clone();
        let codes = codes.into_iter().chain([own.clone()]).map(|code| (code, false));
        let names = names.into_iter().map(|name| (normalise(&name), true));
        for (spelling, is_name) in codes.chain(names) {
            let map = if is_name { &mut walk.names } else { &mut walk.codes };
            if let Some(other) = map.insert(spelling.clone(), own.clone())
                && other != own
            {
                let message = format!("\"{spelling}\" means both \"{other}\" and \"{own}\"");
                sink.report_at(line, column, message, None);
            }
        }
    }
    fields.finish();
    if walks.0.insert(domain.value.clone(), Arc::new(walk)).is_some() {
        sink.report(domain, format!("crosswalk \"{}\" is declared twice", domain.value), None);
    }
}

/// A name without case, accents, punctuation and surplus blanks. Text that was UTF-8 read as Latin-1 is repaired first.
pub(crate) fn normalise(name: &str) -> String {
    let repaired = unmangle(name);
    let mut out = String::with_capacity(repaired.len());
    for character in repaired.chars().flat_map(char::to_lowercase) {
        let plain = match character {
            'à'..='å' => "a",
            'ç' => "c",
            'è'..='ë' => "e",
            'ì'..='ï' => "i",
            'ñ' => "n",
            'ò'..='ö' | 'ø' => "o",
            'ù'..='ü' => "u",
            'ý' | 'ÿ' => "y",
            'æ' => "ae",
            'œ' => "oe",
            'ß' => "ss",
            c if c.is_alphanumeric() => {
                out.push(c);
                continue;
            }
            _ => " ",
        };
        out.push_str(plain);
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `GorÃ©e` back to `Gorée`; anything else as it is.
fn unmangle(text: &str) -> String {
    if !text.contains('Ã') {
        return text.to_owned();
    }
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Sink;

    #[test]
    fn spellings_of_the_container_terminal_are_one() {
        let sink = Sink::new(std::path::Path::new("x.yaml"));
        let root = sink
            .parse(
                "domain: terminal\nentries:\n- {canonical: TAC, codes: [DPWSN], names: [PORT AUTONOME DE DAKAR, \
                 Terminal à conteneurs]}\n- {canonical: M2, names: [TAC]}\n",
            )
            .unwrap();
        let mut fields = sink.fields(root, "file").unwrap();
        let domain = fields.text("domain").unwrap();
        let mut walks = Crosswalks::default();
        read(&mut walks, &domain, fields);
        assert!(sink.into_diagnostics().is_empty());
        for spelling in
            ["TAC", "DPWSN", "port autonome de Dakar ", "Terminal a conteneurs", "TERMINAL Ã  CONTENEURS"]
        {
            assert_eq!(walks.resolve("terminal", spelling), Some("TAC"), "{spelling}");
        }
        assert_eq!(walks.resolve("terminal", "somewhere"), None);
    }

    #[test]
    fn names_are_normalised() {
        assert_eq!(normalise("  Môle 8, Poste-82 "), "mole 8 poste 82");
        assert_eq!(normalise("GorÃ©e"), "goree");
    }
}
