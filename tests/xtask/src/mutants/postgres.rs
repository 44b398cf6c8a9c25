//! What PostgreSQL is asked in other words, or not at all, taken away.

use super::switch::Mutant;

const RENDER: &str = "catalog/src/postgres/render.rs";
const SELECT: &str = "catalog/src/postgres/select.rs";
const COLUMN: &str = "catalog/src/postgres/column.rs";
const LITERAL: &str = "catalog/src/postgres/literal.rs";

const W2: &str = "stores::postgres::traps::trap_w2_top_n_places_nulls_by_word";
const W9: &str = "stores::postgres::kinds::trap_w9_text_of_types_with_an_equality_of_their_own";
const W9_LOOSE: &str =
    "stores::postgres::collations::trap_w9_a_collation_that_may_take_different_texts_as_equal";
const W12: &str = "stores::postgres::traps::trap_w12_text_order_is_bytes_whoever_sorts";
const W12_RANGES: &str = "stores::postgres::collations::trap_w12_ranges_of_text_are_of_bytes";
const W16: &str = "stores::postgres::traps::trap_w16_division_and_rounding_of_floats_stay_here";
const W22: &str = "stores::postgres::traps::trap_w22_sums_are_exact_or_stay";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "postgres-text-equal-loose",
        why: "text = <> IN stay where the collation is not deterministic",
        file: RENDER,
        from: "operands.iter().any(|operand| operand.loose)",
        to: "false",
        caught_by: &[W9_LOOSE],
    },
    Mutant {
        id: "postgres-bpchar",
        why: "bpchar as text",
        file: COLUMN,
        from: r#"Reading {
            read_as: Some("text"),
            pg_type: Some(declared.replace("character", "bpchar")),
            ..Reading::plain(DataType::Utf8View)
        }"#,
        to: r#"Reading {
            pg_type: Some(declared.replace("character", "bpchar")),
            ..Reading::plain(DataType::Utf8View)
        }"#,
        caught_by: &[W9],
    },
    Mutant {
        id: "postgres-as-text",
        why: "enum, citext and other types as text",
        file: COLUMN,
        from: r#"Reading { read_as: Some("text"), pg_type: Some("text".into()), ..Reading::plain(DataType::Utf8View) }"#,
        to: r#"Reading { pg_type: Some("text".into()), ..Reading::plain(DataType::Utf8View) }"#,
        caught_by: &[W2, W9],
    },
    Mutant {
        id: "postgres-range",
        why: "text < <= > >= BETWEEN under COLLATE \"C\"",
        file: RENDER,
        from: "ordered || columns > 1",
        to: "columns > 1",
        caught_by: &[W12_RANGES],
    },
    Mutant {
        id: "postgres-two-texts",
        why: "two columns of text under COLLATE \"C\"",
        file: RENDER,
        from: "ordered || columns > 1",
        to: "ordered",
        caught_by: &[W12_RANGES],
    },
    Mutant {
        id: "postgres-order",
        why: "ORDER BY text under COLLATE \"C\"",
        file: SELECT,
        from: r#"format!("{sql} COLLATE \"C\" {way} NULLS {nulls}")"#,
        to: r#"format!("{sql} {way} NULLS {nulls}")"#,
        caught_by: &[W12],
    },
    Mutant {
        id: "postgres-least-text",
        why: "min and max of text under COLLATE \"C\"",
        file: SELECT,
        from: r#"format!("{name}({sql}::text COLLATE \"C\"){filter}")"#,
        to: r#"format!("{name}({sql}){filter}")"#,
        caught_by: &[W12],
    },
    Mutant {
        id: "postgres-group",
        why: "GROUP BY text under COLLATE \"C\" where the collation is not deterministic",
        file: SELECT,
        from: r#"if is_loose(field) { format!("({sql} COLLATE \"C\")") } else { sql }"#,
        to: "sql",
        caught_by: &[W9_LOOSE],
    },
    Mutant {
        id: "postgres-count-distinct",
        why: "count(DISTINCT text) the same",
        file: SELECT,
        from: r#"if call.distinct && is_loose(field) { format!("{sql} COLLATE \"C\"") } else { sql }"#,
        to: "sql",
        caught_by: &[W9_LOOSE],
    },
    Mutant {
        id: "postgres-join",
        why: "joins on text under COLLATE \"C\"",
        file: SELECT,
        from: "class_of_column(left)? == Class::Text",
        to: "false",
        caught_by: &[W12],
    },
    Mutant {
        id: "postgres-like-loose",
        why: "LIKE stays where the collation is not deterministic",
        file: RENDER,
        from: "value.class != Class::Text || !value.column || value.loose",
        to: "value.class != Class::Text || !value.column",
        caught_by: &[W9_LOOSE],
    },
    Mutant {
        id: "postgres-nulls",
        why: "the place of nulls in a top-N, by word",
        file: SELECT,
        from: r#"format!("{sql} {way} NULLS {nulls}")"#,
        to: r#"format!("{sql} {way}")"#,
        caught_by: &[W2],
    },
    Mutant {
        id: "postgres-division",
        why: "division stays: of floats by zero it is an error there",
        file: RENDER,
        from: r#"Err("computed values are evaluated here".into())"#,
        to: r#"match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right }) => {
                let (left, right) = (self.operand(left)?, self.operand(right)?);
                Ok(Operand { sql: format!("({} / {})", left.sql, right.sql), ..left })
            }
            _ => Err("computed values are evaluated here".into()),
        }"#,
        caught_by: &[W16],
    },
    Mutant {
        id: "postgres-round",
        why: "round stays: of half a float it goes to the even side there",
        file: RENDER,
        from: "(self.operand(left)?, self.operand(right)?)",
        to: r#"{
            let sent = |expr: &Expr| -> Walked<Operand> {
                match expr {
                    Expr::ScalarFunction(call) if call.name() == "round" && call.args.len() == 1 => {
                        let value = self.operand(&call.args[0])?;
                        Ok(Operand { sql: format!("round({})", value.sql), ..value })
                    }
                    other => self.operand(other),
                }
            };
            (sent(left)?, sent(right)?)
        }"#,
        caught_by: &[W16],
    },
    Mutant {
        id: "postgres-cast",
        why: "a cast of a column that may change its value stays",
        file: RENDER,
        from: r#"if lossless { Ok(operand) } else { Err(format!("cast to {to} is evaluated here").into()) }"#,
        to: "Ok(operand)",
        caught_by: &[W16],
    },
    Mutant {
        id: "postgres-sum-wraps",
        why: "a sum of bigints in a bigint stays: it wraps here and not there",
        file: SELECT,
        from: "sum_verdict(call, column)",
        to: "if call.output == DataType::Int64 { Verdict::Exact } else { sum_verdict(call, column) }",
        caught_by: &[W22],
    },
    Mutant {
        id: "postgres-sum-type",
        why: "a sum is cast to the type that was promised",
        file: SELECT,
        from: r#"format!("(sum({distinct}{sql}){filter})::{to}")"#,
        to: r#"{ let _promised = to; format!("sum({distinct}{sql}){filter}") }"#,
        caught_by: &[W22],
    },
    Mutant {
        id: "postgres-quote",
        why: "a single quote is doubled",
        file: LITERAL,
        from: r"character == '\''",
        to: "false",
        caught_by: &["stores::postgres::names::trap_f1_hostile_texts_are_compared_as_they_are"],
    },
    Mutant {
        id: "postgres-name",
        why: "a double quote in a name is doubled",
        file: LITERAL,
        from: r#"quoted.push_str("\"\"")"#,
        to: r#"quoted.push('"')"#,
        caught_by: &["stores::postgres::names::trap_f1_tables_and_columns_of_any_name_are_read_and_sent"],
    },
];
