//! The second compiler: measures evaluated by loops over rows in plain Rust, compared with the expansion over generated
//! little stars (NULL and unmatched keys, NULL clocks, several visits per call, ties, empty tables).
//!
//! It shares nothing with the expansion but the KPI file; a difference is a bug in one of the two.

use evaluate::{Fact, facts, queries};
use proptest::prelude::{ProptestConfig, TestCaseError, proptest};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn expansion_equals_the_loops(facts in facts(), query in queries()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| TestCaseError::fail(e.to_string()))?;
        let measured = runtime.block_on(star::rows(&facts, &query.sql()));
        let looped = query.evaluate(&facts);
        proptest::prop_assert_eq!(measured, looped, "{}", query.sql());
    }
}

#[cfg(test)]
mod evaluate {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    /// One cargo operation; amounts in thousandths, instants as days of 2026 (0 = 1 January).
    #[derive(Clone, Debug)]
    pub(super) struct Fact {
        pub(super) call: i64,
        pub(super) visit: i64,
        pub(super) terminal: i64,
        pub(super) cargo: i64,
        pub(super) call_row: bool,
        pub(super) visit_row: bool,
        pub(super) tonnes: Option<i64>,
        pub(super) waiting: Option<i64>,
        pub(super) berth: Option<i64>,
        pub(super) arrival: Option<i64>,
        pub(super) berthing: Option<i64>,
        pub(super) completion: Option<i64>,
        pub(super) departure: Option<i64>,
    }

    pub(super) fn facts() -> impl Strategy<Value = Vec<Fact>> {
        let day = || prop_oneof![1 => Just(None), 4 => (20_i64..70).prop_map(Some)];
        let amount = || prop_oneof![1 => Just(None), 4 => (0_i64..4).prop_map(|n| Some(n * 1500))];
        let one = (
            1_i64..5,
            1_i64..3,
            prop::sample::select(vec![1_i64, 2, -1, 9]),
            prop::sample::select(vec![1_i64, 2, 3, -2]),
            amount(),
            amount(),
            amount(),
            (day(), day(), day(), day()),
        );
        prop::collection::vec(one, 0..12).prop_map(|rows| {
            let (mut calls, mut visits) = (BTreeSet::new(), BTreeSet::new());
            rows.into_iter()
                .map(
                    |(
                        call,
                        visit,
                        terminal,
                        cargo,
                        tonnes,
                        waiting,
                        berth,
                        (arrival, berthing, completion, departure),
                    )| {
                        let visit = call * 10 + visit;
                        let (call_row, visit_row) = (calls.insert(call), visits.insert(visit));
                        Fact {
                            call,
                            visit,
                            terminal,
                            cargo,
                            call_row,
                            visit_row,
                            tonnes,
                            waiting,
                            berth,
                            arrival,
                            berthing,
                            completion,
                            departure,
                        }
                    },
                )
                .collect()
        })
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(super) enum Key {
        Terminal,
        CargoClass,
        Direction,
        Month,
    }

    const MEASURES: [&str; 6] =
        ["cargo_tonnes", "discharged_t", "calls", "waiting_h", "waiting_p90_h", "berth_h"];

    #[derive(Clone, Debug)]
    pub(super) struct Query {
        keys: Vec<Key>,
        measures: Vec<usize>,
        terminal: Option<&'static str>,
        class: Option<&'static str>,
        from: Option<i64>,
        rollup: bool,
    }

    pub(super) fn queries() -> impl Strategy<Value = Query> {
        let keys = prop::sample::subsequence(
            vec![Key::Terminal, Key::CargoClass, Key::Direction, Key::Month],
            0..=3,
        );
        let measures = prop::sample::subsequence((0..MEASURES.len()).collect::<Vec<_>>(), 1..=3);
        let terminal = prop_oneof![3 => Just(None), 1 => Just(Some("TAC")), 1 => Just(Some("(unknown)"))];
        let class = prop_oneof![3 => Just(None), 1 => Just(Some("dry")), 1 => Just(Some("box"))];
        (keys, measures, terminal, class, prop::option::weighted(0.3, 25_i64..60), any::<bool>()).prop_map(
            |(keys, measures, terminal, class, from, rollup)| Query {
                rollup: rollup && !keys.is_empty(),
                keys,
                measures,
                terminal,
                class,
                from,
            },
        )
    }

    /// A group: the grouping set's length, then the key texts.
    type Member = (usize, Vec<Option<String>>);

    impl Fact {
        fn terminal(&self) -> Option<String> {
            match self.terminal {
                1 => Some("TAC".into()),
                2 => Some("MOLE".into()),
                -1 => None,
                _ => Some("(unknown)".into()),
            }
        }

        fn class(&self) -> Option<String> {
            match self.cargo {
                1 | 2 => Some("dry".into()),
                3 => Some("box".into()),
                _ => None,
            }
        }

        fn direction(&self) -> Option<String> {
            match self.cargo {
                1 | 3 => Some("discharged".into()),
                2 => Some("loaded".into()),
                _ => None,
            }
        }
    }

    fn month(day: i64) -> String {
        // 31 days of January, 28 of February; generated days end before April.
        if day < 31 {
            "2026-01-01"
        } else if day < 59 {
            "2026-02-01"
        } else {
            "2026-03-01"
        }
        .to_owned()
    }

    impl Query {
        fn name(key: Key) -> &'static str {
            match key {
                Key::Terminal => "terminal",
                Key::CargoClass => "cargo_class",
                Key::Direction => "direction",
                Key::Month => "month",
            }
        }

        pub(super) fn sql(&self) -> String {
            let keys: Vec<&str> = self.keys.iter().map(|key| Self::name(*key)).collect();
            let mut out: Vec<String> = keys.iter().map(|key| format!("CAST({key} AS VARCHAR)")).collect();
            out.extend(self.measures.iter().map(|at| format!("CAST(MEASURE({}) AS DOUBLE)", MEASURES[*at])));
            let mut sql = String::new();
            let mut filters = Vec::new();
            filters.extend(self.terminal.map(|value| format!("terminal = '{value}'")));
            filters.extend(self.class.map(|value| format!("cargo_class = '{value}'")));
            filters.extend(
                self.from.map(|day| {
                    format!("time >= to_timestamp_micros({}) AT TIME ZONE 'UTC'", day_micros(day))
                }),
            );
            if self.rollup {
                out.insert(0, format!("GROUPING({})", keys.join(", ")));
            } else {
                out.insert(0, "0".into());
            }
            sql.push_str(&format!("SELECT {} FROM kpi.port_calls", out.join(", ")));
            if !filters.is_empty() {
                sql.push_str(&format!(" WHERE {}", filters.join(" AND ")));
            }
            if self.rollup {
                sql.push_str(&format!(" GROUP BY ROLLUP({})", keys.join(", ")));
            } else if !keys.is_empty() {
                sql.push_str(&format!(" GROUP BY {}", keys.join(", ")));
            }
            sql
        }

        /// Rows as text, sorted.
        pub(super) fn evaluate(&self, facts: &[Fact]) -> Vec<String> {
            let lengths: Vec<usize> =
                if self.rollup { (0..=self.keys.len()).collect() } else { vec![self.keys.len()] };
            let mut members: BTreeSet<Member> = BTreeSet::new();
            let mut found: Vec<Vec<(Member, i64)>> = Vec::new();
            let mut counted = Vec::new();
            for at in &self.measures {
                let mut values = Vec::new();
                for length in &lengths {
                    self.visible(MEASURES[*at], facts, *length, &mut members, &mut values);
                }
                counted.push(MEASURES[*at]);
                found.push(values);
            }
            if self.keys.is_empty() || self.rollup {
                members.insert((0, Vec::new()));
            }
            let mut rows: Vec<String> = members
                .iter()
                .map(|member| {
                    let grouping = if self.rollup { (1_u32 << (self.keys.len() - member.0)) - 1 } else { 0 };
                    let mut row = vec![grouping.to_string()];
                    let keys = (0..self.keys.len())
                        .map(|at| member.1.get(at).cloned().flatten().unwrap_or_else(|| "∅".into()));
                    row.extend(keys);
                    for (name, values) in counted.iter().zip(&found) {
                        let mine: Vec<i64> = values
                            .iter()
                            .filter(|(other, _)| other == member)
                            .map(|(_, value)| *value)
                            .collect();
                        row.push(aggregate(name, mine));
                    }
                    row.join("|")
                })
                .collect();
            rows.sort();
            rows
        }

        /// Key values of a row, `time` on the day of a clock.
        fn key(&self, key: Key, main: &Fact, row: &Fact, day: i64) -> Option<String> {
            match key {
                Key::Terminal => main.terminal(),
                Key::CargoClass => row.class(),
                Key::Direction => row.direction(),
                Key::Month => Some(month(day)),
            }
        }

        fn visible(
            &self,
            measure: &str,
            facts: &[Fact],
            length: usize,
            members: &mut BTreeSet<Member>,
            values: &mut Vec<(Member, i64)>,
        ) {
            for main in facts {
                let (value_row, day) = match measure {
                    "calls" => (main.call_row, main.arrival),
                    "waiting_h" | "waiting_p90_h" => (main.call_row, main.berthing),
                    "berth_h" => (main.visit_row, main.departure),
                    _ => (true, main.completion),
                };
                let Some(day) = day.filter(|_| value_row) else { continue };
                if self.from.is_some_and(|from| day < from)
                    || self.terminal.is_some_and(|t| main.terminal().as_deref() != Some(t))
                {
                    continue;
                }
                let touched: Vec<&Fact> = match measure {
                    "calls" | "waiting_h" | "waiting_p90_h" => {
                        facts.iter().filter(|row| row.call == main.call).collect()
                    }
                    "berth_h" => facts.iter().filter(|row| row.visit == main.visit).collect(),
                    _ => vec![main],
                };
                let mine: BTreeSet<Member> = touched
                    .into_iter()
                    .filter(|row| self.class.is_none_or(|class| row.class().as_deref() == Some(class)))
                    .map(|row| {
                        (
                            length,
                            self.keys.iter().take(length).map(|key| self.key(*key, main, row, day)).collect(),
                        )
                    })
                    .collect();
                let value = match measure {
                    "calls" => Some(1),
                    "waiting_h" | "waiting_p90_h" => main.waiting,
                    "berth_h" => main.berth,
                    "discharged_t" => {
                        main.tonnes.filter(|_| main.direction().as_deref() == Some("discharged"))
                    }
                    _ => main.tonnes,
                };
                for member in mine {
                    members.insert(member.clone());
                    values.extend(value.map(|value| (member, value)));
                }
            }
        }
    }

    fn aggregate(name: &str, mut values: Vec<i64>) -> String {
        let text = |thousandths: f64| format!("{:.4}", thousandths / 1000.0);
        let float = |value: i64| f64::from(i32::try_from(value).unwrap());
        match name {
            "calls" => format!("{:.4}", float(values.iter().sum())),
            _ if values.is_empty() => "∅".into(),
            "waiting_p90_h" => {
                values.sort_unstable();
                let last = values.len() - 1;
                let at = 0.9 * f64::from(u32::try_from(last).unwrap());
                let low = (0..=last).rev().find(|n| f64::from(u32::try_from(*n).unwrap()) <= at).unwrap();
                let (a, b) = (float(values[low]), float(values[(low + 1).min(last)]));
                text(a + (b - a) * (at - f64::from(u32::try_from(low).unwrap())))
            }
            _ => text(float(values.iter().sum())),
        }
    }

    pub(super) fn day_micros(day: i64) -> i64 {
        // 2026-01-01T00:00:00Z is 20,454 days after the epoch.
        (20_454 + day) * 86_400_000_000
    }
}

#[cfg(test)]
mod star {
    use std::path::PathBuf;
    use std::sync::Arc;

    use async_trait::async_trait;
    use datafusion::arrow::array::{
        ArrayRef, BooleanArray, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray,
    };
    use datafusion::arrow::datatypes::Schema;
    use datafusion::arrow::record_batch::RecordBatch;
    use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
    use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, TableProvider};
    use datafusion::datasource::MemTable;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use portolan_semantic::{Semantics, TableResolver, load};

    use super::Fact;
    use super::evaluate::day_micros;

    #[derive(Debug)]
    struct Tables(Vec<Fact>);

    fn table(columns: Vec<(&str, ArrayRef)>) -> Arc<dyn TableProvider> {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap();
        let schema: Arc<Schema> = batch.schema();
        let half = batch.num_rows() / 2;
        let parts = vec![vec![batch.slice(0, half)], vec![batch.slice(half, batch.num_rows() - half)]];
        Arc::new(MemTable::try_new(schema, parts).unwrap())
    }

    #[async_trait]
    impl TableResolver for Tables {
        async fn table(&self, _schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
            let ints = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
            let texts = |values: Vec<Option<&str>>| Arc::new(StringArray::from(values)) as ArrayRef;
            let facts = &self.0;
            let hours = |of: &dyn Fn(&Fact) -> Option<i64>| {
                let array: Decimal128Array =
                    facts.iter().map(|f| of(f).map(|v| i128::from(v) * 1000)).collect();
                Arc::new(array.with_precision_and_scale(14, 6).unwrap()) as ArrayRef
            };
            let tonnes: Decimal128Array = facts.iter().map(|f| f.tonnes.map(i128::from)).collect();
            let none = || hours(&|_| None);
            let days = |of: &dyn Fn(&Fact) -> Option<i64>| {
                let array: TimestampMicrosecondArray = facts.iter().map(|f| of(f).map(day_micros)).collect();
                Arc::new(array.with_timezone("UTC")) as ArrayRef
            };
            let flags = |of: &dyn Fn(&Fact) -> bool| {
                Arc::new(facts.iter().map(|f| Some(of(f))).collect::<BooleanArray>()) as ArrayRef
            };
            Some(match name {
                "dim_terminal" => table(vec![
                    ("terminal_key", ints(vec![1, 2, -1])),
                    ("terminal_code", texts(vec![Some("TAC"), Some("MOLE"), None])),
                    ("berth_no", texts(vec![Some("1"), Some("82"), None])),
                ]),
                "dim_vessel" => {
                    table(vec![("vessel_key", ints(vec![1])), ("type", texts(vec![Some("bulk")]))])
                }
                "dim_cargo" => table(vec![
                    ("cargo_key", ints(vec![1, 2, 3, -2])),
                    ("cargo_class", texts(vec![Some("dry"), Some("dry"), Some("box"), None])),
                    ("commodity", texts(vec![Some("rice"), Some("wheat"), Some("boxes"), None])),
                    ("direction", texts(vec![Some("D"), Some("L"), Some("D"), None])),
                    ("trade", texts(vec![Some("IM"), Some("EX"), Some("IM"), None])),
                ]),
                _ => table(vec![
                    ("port_call_id", ints(facts.iter().map(|f| f.call).collect())),
                    ("visit_id", ints(facts.iter().map(|f| f.visit).collect())),
                    ("terminal_key", ints(facts.iter().map(|f| f.terminal).collect())),
                    ("vessel_key", ints(facts.iter().map(|_| 1).collect())),
                    ("cargo_key", ints(facts.iter().map(|f| f.cargo).collect())),
                    ("is_call_row", flags(&|f| f.call_row)),
                    ("is_visit_row", flags(&|f| f.visit_row)),
                    ("tonnes", Arc::new(tonnes.with_precision_and_scale(14, 3).unwrap()) as ArrayRef),
                    ("teu", none()),
                    ("waiting_h", hours(&|f| f.waiting)),
                    ("berth_h", hours(&|f| f.berth)),
                    ("port_h", none()),
                    ("idle_h", none()),
                    ("weather_wait_h", none()),
                    ("weather_stop_h", none()),
                    ("arrival_dev_h", none()),
                    ("ata_pbp_ts", days(&|f| f.arrival)),
                    ("ata_berth_ts", days(&|f| f.berthing)),
                    ("atc_ts", days(&|f| f.completion)),
                    ("atd_berth_ts", days(&|f| f.departure)),
                    ("atd_last_ts", days(&|f| f.departure)),
                ]),
            })
        }
    }

    /// Rows of a statement as text, sorted; numbers with four decimals.
    pub(super) async fn rows(facts: &[Fact], sql: &str) -> Vec<String> {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../kpis/port_calls.yaml")).unwrap();
        let loaded = load(&[(PathBuf::from("port_calls.yaml"), text)]);
        let semantics = Semantics::new(loaded.model, Arc::new(Tables(facts.to_vec())));
        let config = SessionConfig::new().with_target_partitions(2);
        let state =
            semantics.install(SessionStateBuilder::new().with_default_features().with_config(config)).build();
        let catalog = MemoryCatalogProvider::new();
        for (name, schema) in semantics.schemas() {
            catalog.register_schema(&name, schema).unwrap();
        }
        let context = SessionContext::new_with_state(state);
        context.register_catalog("datafusion", Arc::new(catalog));
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        let options = FormatOptions::default().with_null("∅");
        let mut rows = Vec::new();
        for batch in &batches {
            let columns: Vec<ArrayFormatter<'_>> =
                batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
            for row in 0..batch.num_rows() {
                let cells = columns.iter().zip(batch.columns()).map(|(column, array)| {
                    let cell = column.value(row).to_string();
                    if array.data_type().is_floating() && cell != "∅" {
                        format!("{:.4}", cell.parse::<f64>().unwrap())
                    } else {
                        cell
                    }
                });
                rows.push(cells.collect::<Vec<_>>().join("|"));
            }
        }
        rows.sort();
        rows
    }
}
