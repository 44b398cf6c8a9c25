//! The ships: identity, size, and the changes of flag, name and tonnage over time. No dirt here.

use crate::{
    draw::{Draw, Stream, entity, whole},
    sim::Call,
    world::POOLS,
};

const FLAGS: [(&str, u64); 10] = [
    ("LR", 636),
    ("PA", 351),
    ("MH", 538),
    ("MT", 248),
    ("SG", 563),
    ("HK", 477),
    ("CY", 209),
    ("PT", 255),
    ("SN", 663),
    ("FR", 227),
];
const FIRST: [&str; 24] = [
    "ALMADIES",
    "ATLANTIC",
    "BALTIC",
    "CAP",
    "CASAMANCE",
    "DELTA",
    "EASTERN",
    "FALCON",
    "GRAND",
    "HARMATTAN",
    "IBIS",
    "KAOLACK",
    "LOUGA",
    "MISTRAL",
    "NORTHERN",
    "OCEAN",
    "PACIFIC",
    "PELICAN",
    "SAHEL",
    "SALOUM",
    "SIRIUS",
    "SOUTHERN",
    "TERANGA",
    "WESTERN",
];
const SECOND: [&str; 30] = [
    "ARROW",
    "BREEZE",
    "BRIDGE",
    "CHALLENGER",
    "CROWN",
    "DAWN",
    "DIAMOND",
    "EAGLE",
    "EXPRESS",
    "FORTUNE",
    "GLORY",
    "HARMONY",
    "HOPE",
    "HORIZON",
    "JADE",
    "LEADER",
    "LION",
    "MERCHANT",
    "NAVIGATOR",
    "PEARL",
    "PIONEER",
    "PRIDE",
    "SKY",
    "SPIRIT",
    "STAR",
    "TRADER",
    "VENTURE",
    "VICTORY",
    "VOYAGER",
    "WAVE",
];

/// One version of a ship's changing attributes, valid from an instant on.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) valid_from: i64,
    pub(crate) name: String,
    pub(crate) flag: &'static str,
    pub(crate) gt: i64,
}

/// A ship.
#[derive(Debug, Clone)]
pub(crate) struct Ship {
    pub(crate) id: i64,
    pub(crate) pool: usize,
    pub(crate) imo: String,
    pub(crate) mmsi: String,
    pub(crate) call_sign: String,
    pub(crate) dwt: i64,
    pub(crate) loa_cm: i64,
    pub(crate) beam_cm: i64,
    pub(crate) draught_cm: i64,
    pub(crate) teu: Option<i64>,
    /// Oldest first, at least one.
    pub(crate) versions: Vec<Version>,
}

impl Ship {
    /// The version valid at an instant.
    pub(crate) fn at(&self, at: i64) -> Option<&Version> {
        self.versions.iter().rev().find(|version| version.valid_from <= at).or_else(|| self.versions.first())
    }
}

/// A seven digit IMO number: six digits and their check digit, sum(d1..d6 x 7..2) mod 10.
pub(crate) fn imo_number(six: u64) -> String {
    let digits = format!("{six:06}");
    let sum: u64 =
        digits.bytes().zip((2..=7).rev()).map(|(digit, weight)| u64::from(digit - b'0') * weight).sum();
    format!("{digits}{}", sum % 10)
}

fn number(pool: usize, index: usize) -> u64 {
    POOLS.iter().take(pool).map(|pool| u64::try_from(pool.fleet).unwrap_or(0)).sum::<u64>()
        + u64::try_from(index).unwrap_or(0)
}

fn imo_of(number: u64) -> String {
    imo_number(910_000 + number * 97)
}

/// The truth's identity of a call's ship: `imo:` and the number.
pub(crate) fn natural_key(call: &Call) -> String {
    format!("imo:{}", imo_of(number(call.pool, call.vessel)))
}

/// The register id of a call's ship.
pub(crate) fn ship_id(call: &Call) -> i64 {
    i64::try_from(number(call.pool, call.vessel)).unwrap_or(0) + 1001
}

/// All ships, in id order. Changes happen between 2015 and 2035, about one ship in twelve a year.
pub(crate) fn ships(seed: u64) -> Vec<Ship> {
    let mut ships = Vec::new();
    for (pool_index, pool) in POOLS.iter().enumerate() {
        for index in 0..pool.fleet {
            let number = number(pool_index, index);
            let mut draw = Draw::new(seed, Stream::Fleet, entity(1, number));
            let name_at = usize::try_from((number * 7 + seed % 720) % 720).unwrap_or(0);
            let (first, second) =
                (FIRST[name_at % FIRST.len()], SECOND[(name_at / FIRST.len()) % SECOND.len()]);
            let (flag, mid) = FLAGS[draw.below(FLAGS.len())];
            let gt = whole(draw.uniform(pool.ship.1, pool.ship.2));
            let dwt = whole(gt as f64 * pool.ship.3);
            let length = 100.0 * 9.5 * (gt as f64).powf(0.29);
            let mut versions =
                vec![Version { valid_from: -2_208_988_800, name: format!("{first} {second}"), flag, gt }];
            let mut at = 1_420_070_400.0;
            loop {
                at += draw.exponential(12.0 * 365.25 * 86_400.0);
                if at > 2_051_222_400.0 {
                    break;
                }
                let mut next = versions.last().cloned().unwrap_or_else(|| versions[0].clone());
                next.valid_from = whole(at);
                next.flag = FLAGS[draw.below(FLAGS.len())].0;
                if draw.chance(0.5) {
                    next.name =
                        format!("{first} {} {}", SECOND[draw.below(SECOND.len())], versions.len() + 1);
                }
                if draw.chance(0.3) {
                    next.gt += next.gt / 20 + 1;
                }
                versions.push(next);
            }
            let code = |n: u64| char::from(b'A' + u8::try_from(n % 26).unwrap_or(0));
            ships.push(Ship {
                id: i64::try_from(number).unwrap_or(0) + 1001,
                pool: pool_index,
                imo: imo_of(number),
                mmsi: format!("{mid}{:06}", 100_000 + number * 131),
                call_sign: format!(
                    "{}{}{}{}",
                    code(number / 26 + 3),
                    code(number),
                    code(number * 5 + 1),
                    1000 + number
                ),
                dwt,
                loa_cm: whole(length),
                beam_cm: whole(length / 6.4),
                draught_cm: whole(300.0 + 2.4 * (dwt as f64).powf(0.55)).min(1500),
                teu: (pool.name == "TAC").then_some(gt / 11),
                versions,
            });
        }
    }
    ships
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_digit_is_the_weighted_sum() {
        assert_eq!(super::imo_number(907_472), "9074729");
    }
}
