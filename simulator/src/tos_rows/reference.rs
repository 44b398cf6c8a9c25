//! What the port-management system knows without any ship: terminals, berths, cargo and ports.

use crate::rows::{Cell, text, time};
use crate::world::{BERTHS, CARGOES, PORTS, TERMINALS};

pub(super) fn reference_rows(push: &mut impl FnMut(&str, &[Cell<'_>])) {
    for (id, code, name, operator, zone, smdg) in TERMINALS {
        push(
            "terminals",
            &[
                Cell::Int(id.into()),
                Cell::Text(code),
                Cell::Text(name),
                Cell::Text(operator),
                Cell::Text(zone),
                text(smdg),
                Cell::Text("SNDKR"),
            ],
        );
    }
    let old = 946_684_800; // 2000-01-01
    for (terminal, first, count, length, depth, pool) in BERTHS {
        let code = TERMINALS[usize::try_from(terminal - 1).unwrap_or(0)].1;
        for berth in first..first + count {
            let no = berth.to_string();
            let status = if pool.is_some() { "open" } else { "planned" };
            let dredged = (berth == 62).then_some(1_561_939_200); // 2019-07-01
            let mut version = |depth: i64, since: i64, until: Option<i64>| {
                push(
                    "berths",
                    &[
                        Cell::Int(berth.into()),
                        Cell::Int(terminal.into()),
                        Cell::Text(&no),
                        Cell::Text(code),
                        Cell::Int(length * 10),
                        Cell::Int(depth),
                        Cell::Text(status),
                        Cell::Time(since),
                        time(until),
                    ],
                );
            };
            if dredged.is_some() {
                version(116, old, dredged);
            }
            version(depth, dredged.unwrap_or(old), None);
        }
    }
    for cargo in CARGOES {
        push(
            "ref_cargo",
            &[
                Cell::Text(cargo.0),
                Cell::Text(cargo.1),
                Cell::Text(cargo.2),
                Cell::Text(cargo.3),
                text(cargo.4),
                Cell::Bool(cargo.5),
                Cell::Bool(cargo.6),
            ],
        );
    }
    for (code, name, country, lat, lon) in PORTS {
        push(
            "ref_ports",
            &[
                Cell::Text(code),
                Cell::Text(name),
                Cell::Text(country),
                Cell::Int(crate::draw::whole(lat * 1e5)),
                Cell::Int(crate::draw::whole(lon * 1e5)),
            ],
        );
    }
}
