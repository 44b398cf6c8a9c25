//! Ships as clerks enter them: wrong and missing numbers, misspelt names, a second entry of the same ship.
//!
//! Gives the second entries, by ship: some of the ship's calls are booked on them.

use std::collections::HashMap;

use super::{Alias, Defect};
use crate::draw::{Draw, Stream};
use crate::fleet::Ship;
use crate::rows::{Cell, text, time};
use crate::world::POOLS;

pub(super) fn vessel_rows(
    push: &mut impl FnMut(&str, &[Cell<'_>]),
    (defects, aliases): (&mut Vec<Defect>, &mut Vec<Alias>),
    (seed, dirt, from, to): (u64, f64, i64, i64),
    ships: &[Ship],
) -> HashMap<i64, i64> {
    let mut twins: HashMap<i64, i64> = HashMap::new();
    for ship in ships {
        let mut draw = Draw::new(seed, Stream::DirtVessel, ship.id.unsigned_abs());
        let row = ship.id.to_string();
        let truth = format!("imo:{}", ship.imo);
        let mut defect = |kind: &'static str, original: &str| {
            defects.push(Defect {
                feed: "tos.vessels",
                row: row.clone(),
                kind,
                original: original.to_owned(),
            });
        };
        let mut imo = Some(ship.imo.clone());
        let roll = draw.unit();
        if roll < 0.043 * dirt {
            defect("imo_missing", &ship.imo);
            imo = None;
        } else if roll < 0.139 * dirt {
            defect("imo_temp", &ship.imo);
            imo = Some(format!("TEMP{:05}", ship.id % 100_000));
        } else if roll < 0.149 * dirt {
            defect("imo_bad_check", &ship.imo);
            let last = ship.imo.bytes().last().map_or(0, |digit| (digit - b'0' + 1) % 10);
            imo = ship.imo.get(..6).map(|six| format!("{six}{last}"));
        }
        let mut mmsi = ship.mmsi.clone();
        let roll = draw.unit();
        if roll < 0.002 * dirt {
            defect("mmsi_wrong_length", &mmsi);
            mmsi.truncate(8);
        } else if roll < 0.004 * dirt {
            defect("mmsi_zero", &mmsi);
            mmsi = "0".into();
        }
        // Char columns are blank padded by the server; the rows say so too.
        let mmsi = format!("{mmsi:<9}");
        let trailing = draw.chance(0.04 * dirt);
        let misspelt = draw.chance(0.005 * dirt);
        if trailing {
            defect("name_trailing_blank", "");
        }
        if misspelt {
            defect("name_misspelt", "");
        }
        let known = ship.versions.iter().filter(|version| version.valid_from < to).count().max(1);
        let versions = &ship.versions[..known];
        let spoil = |name: &str| {
            let mut name = if misspelt { name.replacen('E', "F", 1) } else { name.to_owned() };
            if trailing {
                name.push_str("  ");
            }
            name
        };
        let twin = draw.chance(0.03 * dirt).then_some(ship.id + 100_000);
        if let Some(twin) = twin {
            twins.insert(ship.id, twin);
            defects.push(Defect {
                feed: "tos.vessels",
                row: twin.to_string(),
                kind: "vessel_duplicated",
                original: row.clone(),
            });
        }
        for (id, imo) in std::iter::once((ship.id, imo.as_deref())).chain(twin.map(|id| (id, None))) {
            aliases.push(Alias { feed: "tos.vessels", row: id.to_string(), truth: truth.clone() });
            let Some(last) = versions.last() else { continue };
            let name = spoil(&last.name);
            let former = versions
                .iter()
                .rev()
                .find(|version| version.name != last.name)
                .map(|version| version.name.as_str());
            push(
                "vessels",
                &[
                    Cell::Int(id),
                    text(imo),
                    Cell::Text(&mmsi),
                    Cell::Text(&ship.call_sign),
                    Cell::Text(&name),
                    text(former),
                    Cell::Text(last.flag),
                    Cell::Text(POOLS[ship.pool].ship.0),
                    Cell::Int(last.gt),
                    Cell::Int(last.gt * 55 / 100),
                    Cell::Int(ship.dwt),
                    Cell::Int(ship.loa_cm),
                    Cell::Int(ship.beam_cm),
                    Cell::Int(ship.draught_cm),
                    ship.teu.into(),
                    Cell::Time(last.valid_from.max(from)),
                ],
            );
            for (index, version) in versions.iter().enumerate() {
                let name = spoil(&version.name);
                push(
                    "vessel_history",
                    &[
                        Cell::Int(id),
                        Cell::Time(version.valid_from),
                        time(versions.get(index + 1).map(|next| next.valid_from)),
                        text(imo),
                        Cell::Text(&mmsi),
                        Cell::Text(&ship.call_sign),
                        Cell::Text(&name),
                        Cell::Text(version.flag),
                        Cell::Int(version.gt),
                        Cell::Int(ship.dwt),
                        ship.teu.into(),
                    ],
                );
            }
        }
    }
    twins
}
