//! The port as constants: terminals, berths, cargoes, pools of ships that share berths, and their calibration.
//!
//! Every number that shapes the port is here and nowhere else, so that a calibration is one file's diff.

use crate::closure::Activity;

/// A terminal: (id, code, name, operator, zone, SMDG code).
pub(crate) type Terminal =
    (i32, &'static str, &'static str, &'static str, &'static str, Option<&'static str>);

pub(crate) const TERMINALS: [Terminal; 11] = [
    (1, "TAC", "Terminal à conteneurs", "DP World Dakar", "north", Some("DPWSN")),
    (2, "M2", "Terminal roulier du môle 2", "AGL Dakar Terminal", "south", None),
    (3, "M8", "Terminal vraquier du môle 8", "TVS", "north", None),
    (4, "M1", "Môle 1", "Manutentionnaires du sud", "south", None),
    (5, "M3", "Môle 3 (Mali)", "Entrepôts maliens", "south", None),
    (6, "M4", "Môle 4", "Manutentionnaires du nord", "north", None),
    (7, "M5", "Môle 5", "Manutentionnaires du nord", "north", None),
    (8, "M9", "Môle 9", "Port autonome de Dakar", "north", None),
    (9, "WPET", "Wharf pétrolier et sea-line de Mbao", "Raffinerie", "petroleum", None),
    (10, "M10", "Port de pêche, môle 10", "Port autonome de Dakar", "fishing", None),
    (11, "NDY", "Port de Ndayane", "DP World Ndayane", "ndayane", None),
];

/// (terminal id, first berth number, berths, length m, depth m, pool); berth id = berth number.
pub(crate) const BERTHS: [(i32, i32, i32, i64, i64, Option<usize>); 12] = [
    (1, 61, 3, 239, 130, Some(0)),
    (2, 21, 2, 350, 110, Some(1)),
    (3, 81, 3, 158, 120, Some(2)),
    (4, 11, 4, 180, 90, Some(3)),
    (5, 31, 2, 190, 100, Some(3)),
    (6, 41, 3, 200, 110, Some(3)),
    (7, 51, 3, 200, 130, Some(3)),
    (9, 71, 3, 260, 120, Some(4)),
    (10, 101, 9, 205, 80, Some(5)),
    (4, 15, 2, 220, 90, Some(6)),
    (8, 91, 2, 210, 100, Some(6)),
    (11, 201, 2, 420, 160, None),
];

/// A cargo code: (code, commodity, class, packaging, ISO type, weather sensitive, hazardous, HS code).
pub(crate) type Cargo =
    (&'static str, &'static str, &'static str, &'static str, Option<&'static str>, bool, bool, &'static str);

pub(crate) const CARGOES: [Cargo; 17] = [
    ("CTF", "containers, full", "container", "box", Some("45G1"), true, false, "999999"),
    ("CTR", "containers, refrigerated", "container", "box", Some("45R1"), true, false, "030389"),
    ("CRU", "crude oil", "liquid_bulk", "bulk", None, true, true, "270900"),
    ("DIE", "refined products", "liquid_bulk", "bulk", None, true, true, "271019"),
    ("BUT", "butane", "liquid_bulk", "bulk", None, true, true, "271113"),
    ("CLK", "clinker", "dry_bulk", "bulk", None, true, false, "252310"),
    ("COA", "coal", "dry_bulk", "bulk", None, true, false, "270112"),
    ("SUL", "sulphur", "dry_bulk", "bulk", None, true, true, "250300"),
    ("PHO", "phosphate", "dry_bulk", "bulk", None, true, false, "251010"),
    ("WHE", "wheat", "dry_bulk", "bulk", None, true, false, "100199"),
    ("RIC", "rice", "bagged", "bag", None, true, false, "100630"),
    ("SUG", "sugar", "bagged", "bag", None, true, false, "170199"),
    ("CEM", "cement", "bagged", "bag", None, true, false, "252329"),
    ("FER", "fertiliser", "bagged", "bag", None, true, false, "310520"),
    ("IRO", "iron and steel", "breakbulk", "unit", None, false, false, "721420"),
    ("VEH", "vehicles", "ro_ro", "vehicle", None, false, false, "870323"),
    ("FIS", "frozen fish", "fish", "carton", None, false, false, "030342"),
];

/// The work channel that stops a cargo class, if any.
pub(crate) fn channel(class: &str) -> Option<Activity> {
    match class {
        "container" => Some(Activity::Crane),
        "dry_bulk" | "bagged" => Some(Activity::Bulk),
        "liquid_bulk" => Some(Activity::Liquid),
        _ => None,
    }
}

/// One line of a cargo mix: cargoes to choose from, direction, trade, share of the tonnes, probability of being there.
pub(crate) type Line = (&'static [usize], &'static str, &'static str, f64, f64);

/// Ships that share berths, arrivals and service.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) name: &'static str,
    pub(crate) calls_per_year: f64,
    /// Weekly strings; 0 = Poisson arrivals.
    pub(crate) strings: u64,
    pub(crate) fleet: usize,
    /// Gamma shape and mean, constant part, least service, in hours.
    pub(crate) service: (f64, f64, f64, f64),
    /// Tonnes per call at mean service, and the mix; chosen by weight.
    pub(crate) cargo: &'static [(f64, f64, &'static [Line])],
    pub(crate) shift_share: f64,
    /// Ship type, GT range, DWT per GT, call purpose.
    pub(crate) ship: (&'static str, f64, f64, f64, &'static str),
}

pub(crate) const POOLS: [Pool; 7] = [
    Pool {
        name: "TAC",
        calls_per_year: 885.0,
        strings: 17,
        fleet: 102,
        service: (4.0, 15.5, 2.5, 5.0),
        cargo: &[(
            1.0,
            996.0 * 8.0,
            &[
                (&[0], "D", "IM", 0.400, 1.0),
                (&[0, 1], "L", "EX", 0.240, 1.0),
                (&[0], "D", "TR", 0.156, 0.8),
                (&[0], "D", "TS", 0.102, 0.75),
                (&[0], "L", "TS", 0.102, 0.75),
            ],
        )],
        shift_share: 0.0,
        ship: ("container", 18_000.0, 75_000.0, 1.2, "cargo"),
    },
    Pool {
        name: "M2",
        calls_per_year: 365.0,
        strings: 7,
        fleet: 42,
        service: (3.0, 14.0, 2.0, 4.0),
        cargo: &[(
            1.0,
            2_000.0,
            &[(&[15], "D", "IM", 0.65, 1.0), (&[15], "D", "TR", 0.33, 0.8), (&[15], "L", "EX", 0.02, 0.3)],
        )],
        shift_share: 0.0,
        ship: ("ro-ro", 25_000.0, 65_000.0, 0.4, "cargo"),
    },
    Pool {
        name: "M8",
        calls_per_year: 195.0,
        strings: 0,
        fleet: 90,
        service: (2.2, 72.0, 6.0, 0.0),
        cargo: &[
            (0.5, 23_500.0, &[(&[5, 6, 7], "D", "IM", 1.0, 1.0)]),
            (0.5, 23_500.0, &[(&[8], "L", "EX", 0.95, 1.0), (&[7], "D", "IM", 0.05, 0.6)]),
        ],
        shift_share: 0.04,
        ship: ("bulk carrier", 20_000.0, 42_000.0, 1.75, "cargo"),
    },
    Pool {
        name: "conventional",
        calls_per_year: 530.0,
        strings: 0,
        fleet: 160,
        service: (1.5, 118.0, 6.0, 0.0),
        cargo: &[
            (0.30, 10_000.0, &[(&[9], "D", "IM", 0.84, 1.0), (&[9], "D", "TR", 0.16, 0.5)]),
            (
                0.70,
                8_800.0,
                &[
                    (&[14, 16], "D", "IM", 0.04, 0.3),
                    (&[10, 11, 12], "D", "IM", 0.44, 1.0),
                    (&[10, 11, 12], "D", "TR", 0.47, 0.8),
                    (&[13], "L", "EX", 0.05, 0.2),
                ],
            ),
        ],
        shift_share: 0.05,
        ship: ("general cargo", 8_000.0, 28_000.0, 1.6, "cargo"),
    },
    Pool {
        name: "oil",
        calls_per_year: 350.0,
        strings: 0,
        fleet: 70,
        service: (3.0, 30.0, 5.0, 0.0),
        cargo: &[(
            1.0,
            18_600.0,
            &[
                (&[2, 3, 3, 4], "D", "IM", 0.79, 1.0),
                (&[3], "L", "EX", 0.14, 0.4),
                (&[3], "D", "TR", 0.07, 0.3),
            ],
        )],
        shift_share: 0.0,
        ship: ("tanker", 12_000.0, 60_000.0, 1.75, "cargo"),
    },
    Pool {
        name: "fishing",
        calls_per_year: 460.0,
        strings: 0,
        fleet: 80,
        service: (1.5, 60.0, 2.0, 0.0),
        cargo: &[(1.0, 550.0, &[(&[16], "D", "IM", 0.48, 0.8), (&[16], "L", "EX", 0.52, 0.7)])],
        shift_share: 0.0,
        ship: ("fishing", 400.0, 3_500.0, 0.7, "fishing"),
    },
    Pool {
        name: "other",
        calls_per_year: 260.0,
        strings: 0,
        fleet: 60,
        service: (2.0, 30.0, 2.0, 0.0),
        cargo: &[],
        shift_share: 0.0,
        ship: ("passenger", 3_000.0, 90_000.0, 0.12, "passengers"),
    },
];

/// Seasonal arrival factors, January first.
pub(crate) const SEASON: [f64; 12] = [1.02, 0.98, 1.08, 1.05, 1.02, 0.98, 1.00, 0.95, 0.95, 1.00, 1.02, 0.95];

/// Agents; the generation of their software is their index modulo 4, plus 1.
pub(crate) const AGENTS: [&str; 12] = [
    "Agence Maritime de l'Almadies",
    "Consignation du Cap-Vert",
    "Sénégambie Shipping",
    "Teranga Lines",
    "Gorée Maritime",
    "Ponant Agency",
    "Baobab Shipping Services",
    "Atlantique Consignataires",
    "Saloum Agencies",
    "Fleuve Maritime",
    "Cayor Transit",
    "Yoff Ship Agency",
];

/// (UN/LOCODE, name, country, latitude, longitude)
pub(crate) const PORTS: [(&str, &str, &str, f64, f64); 16] = [
    ("SNDKR", "Dakar", "SN", 14.68, -17.43),
    ("MATNG", "Tanger", "MA", 35.79, -5.81),
    ("ESALG", "Algeciras", "ES", 36.13, -5.44),
    ("ESLPA", "Las Palmas", "ES", 28.14, -15.41),
    ("FRLEH", "Le Havre", "FR", 49.48, 0.11),
    ("NLRTM", "Rotterdam", "NL", 51.95, 4.14),
    ("BEANR", "Antwerpen", "BE", 51.26, 4.40),
    ("CIABJ", "Abidjan", "CI", 5.30, -4.02),
    ("GHTEM", "Tema", "GH", 5.63, 0.01),
    ("NGAPP", "Apapa", "NG", 6.44, 3.37),
    ("GMBJL", "Banjul", "GM", 13.45, -16.57),
    ("MRNKC", "Nouakchott", "MR", 18.03, -16.03),
    ("BRSSZ", "Santos", "BR", -23.98, -46.29),
    ("INMUN", "Mundra", "IN", 22.74, 69.70),
    ("THBKK", "Bangkok", "TH", 13.70, 100.57),
    ("CNSHA", "Shanghai", "CN", 31.23, 121.49),
];
