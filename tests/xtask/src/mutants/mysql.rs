//! What MySQL and MariaDB are asked in other words, or not at all, taken away.

use super::switch::Mutant;

const RENDER: &str = "catalog/src/mysql/render.rs";
const OPERAND: &str = "catalog/src/mysql/render/operand.rs";
const SELECT: &str = "catalog/src/mysql/select.rs";
const SHAPE: &str = "catalog/src/mysql/shape.rs";

const W2: &str = "stores::mysql::shapes::trap_w2";
const W8: &str = "stores::mysql::meaning::trap_w8";
const W9: &str = "stores::mysql::gate::trap_w9";
const W12: &str = "stores::mysql::gate::trap_w12";
const W16: &str = "stores::mysql::meaning::trap_w16";
const W18: &str = "stores::mysql::gate::trap_w18";
const W19: &str = "stores::mysql::values::trap_w19";
const W19_ERRORS: &str = "stores::mysql::shapes::trap_w19_a_zero_date_is_an_error_wherever_it_is_looked_at";
const W22: &str = "stores::mysql::shapes::trap_w22";

/// Both sides of a comparison.
const SIDES: &str = "(operand(self.scope, left)?, operand(self.scope, right)?)";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "mysql-text-equal",
        why: "text = IN under a collation are a superset",
        file: RENDER,
        from: "Means { superset: Some(reason.into()), ..plain }",
        to: "{ let _reason = reason; plain }",
        caught_by: &[W9],
    },
    Mutant {
        id: "mysql-text-padded",
        why: "a binary collation that pads is not that of bytes",
        file: OPERAND,
        from: r#"matches!(collation.as_str(), "utf8mb4_nopad_bin" | "utf8mb4_0900_bin")"#,
        to: r#"collation.ends_with("_bin")"#,
        caught_by: &[W9],
    },
    Mutant {
        id: "mysql-text-not-equal",
        why: "text <> as bytes",
        file: RENDER,
        from: "if op == Operator::Eq { place } else { strict(place) }",
        to: "place",
        caught_by: &[W9],
    },
    Mutant {
        id: "mysql-text-not-in",
        why: "text NOT IN as bytes",
        file: RENDER,
        from: "if *negated { strict(place) } else { place }",
        to: "place",
        caught_by: &[W9],
    },
    Mutant {
        id: "mysql-text-tested",
        why: "text below IS NOT TRUE and its like as bytes",
        file: RENDER,
        from: "below(inner, Place::Tested)?",
        to: "below(inner, Place::Truth)?",
        caught_by: &[W9],
    },
    Mutant {
        id: "mysql-text-range",
        why: "text < <= > >= BETWEEN as bytes",
        file: RENDER,
        from: "return Ok(bytes);",
        to: "return Ok(plain);",
        caught_by: &[W12],
    },
    Mutant {
        id: "mysql-text-order",
        why: "ORDER BY text as bytes, an enum by its text",
        file: SELECT,
        from: "as_bytes(sql)",
        to: "sql.clone()",
        caught_by: &[W12, W18],
    },
    Mutant {
        id: "mysql-text-aggregate",
        why: "min, max and count(DISTINCT …) of text as bytes",
        file: SELECT,
        from: "(as_bytes(&name), Some(Class::Text))",
        to: "(name, Some(Class::Text))",
        caught_by: &[W9, W12],
    },
    Mutant {
        id: "mysql-text-group",
        why: "GROUP BY text as bytes",
        file: SELECT,
        from: r#"(format!("MIN({name})"), as_bytes(&name))"#,
        to: r#"(format!("MIN({name})"), name.clone())"#,
        caught_by: &[W9],
    },
    Mutant {
        id: "mysql-text-join",
        why: "joins on text as bytes",
        file: SELECT,
        from: r#"format!("{left} = {right} AND {} = {}", as_bytes(&left), as_bytes(&right))"#,
        to: r#"format!("{left} = {right}")"#,
        caught_by: &[W9],
    },
    Mutant {
        id: "mysql-like-collation",
        why: "LIKE under utf8mb4_bin",
        file: RENDER,
        from: r#"format!("(CONVERT({} USING utf8mb4) COLLATE utf8mb4_bin {not}LIKE ?)", value.sql)"#,
        to: r#"format!("({} {not}LIKE ?)", value.sql)"#,
        caught_by: &[W8],
    },
    Mutant {
        id: "mysql-like-bytes",
        why: "LIKE over characters, not bytes",
        file: RENDER,
        from: r#"format!("(CONVERT({} USING utf8mb4) COLLATE utf8mb4_bin {not}LIKE ?)", value.sql)"#,
        to: r#"format!("({} {not}LIKE CAST(? AS BINARY))", as_bytes(&value.sql))"#,
        caught_by: &[W8],
    },
    Mutant {
        id: "mysql-nulls",
        why: "the place of nulls in a top-N, by a key of their own",
        file: SELECT,
        from: r#"format!("({sql} IS NULL) {nulls}, {by} {way}")"#,
        to: r#"{ let _placed = nulls; format!("{by} {way}") }"#,
        caught_by: &[W2],
    },
    Mutant {
        id: "mysql-division",
        why: "division stays: of integers it is no integer there, and by zero null",
        file: OPERAND,
        from: r#"Err("computed values are evaluated here".into())"#,
        to: r#"match expr {
            Expr::BinaryExpr(binary) if binary.op == datafusion::logical_expr::Operator::Divide => {
                let (left, right) = (operand(scope, &binary.left)?, operand(scope, &binary.right)?);
                let values = left.values.iter().chain(&right.values).cloned().collect();
                Ok(Operand { sql: format!("({} / {})", left.sql, right.sql), values, ..left })
            }
            _ => Err("computed values are evaluated here".into()),
        }"#,
        caught_by: &[W16],
    },
    Mutant {
        id: "mysql-functions",
        why: "round, length, concat and greatest stay: each means something else there",
        file: RENDER,
        from: SIDES,
        to: r#"{
            let sent = |expr: &Expr| -> Walked<Operand> {
                let Expr::ScalarFunction(call) = expr else { return operand(self.scope, expr) };
                let (word, class) = match call.name() {
                    "round" => ("ROUND", Class::Float64),
                    "character_length" | "length" => ("LENGTH", Class::Number),
                    "concat" => ("CONCAT", Class::Text),
                    "greatest" => ("GREATEST", Class::Text),
                    _ => return operand(self.scope, expr),
                };
                let args = call.args.iter().map(|arg| operand(self.scope, arg)).collect::<Walked<Vec<_>>>()?;
                let texts: Vec<String> = args.iter().map(|arg| arg.sql.clone()).collect();
                let values = args.iter().flat_map(|arg| arg.values.iter().cloned()).collect();
                let sql = format!("{word}({})", texts.join(", "));
                Ok(Operand { sql, values, class, column: None, rests_on: None })
            };
            (sent(left)?, sent(right)?)
        }"#,
        caught_by: &[W16],
    },
    Mutant {
        id: "mysql-substr",
        why: "substr from before the first character stays: it counts from the end there",
        file: OPERAND,
        from: "place(start, 1)?",
        to: "place(start, -9)?",
        caught_by: &[W16],
    },
    Mutant {
        id: "mysql-cast",
        why: "a cast of a column that may change its value stays",
        file: OPERAND,
        from: r#"if lossless { Ok(operand) } else { Err(format!("cast to {to} is evaluated here").into()) }"#,
        to: "Ok(operand)",
        caught_by: &[W16],
    },
    Mutant {
        id: "mysql-year",
        why: "a year is compared as a number, not as one of two digits",
        file: OPERAND,
        from: r#"format!("({name} + 0)")"#,
        to: "name",
        caught_by: &[W16],
    },
    Mutant {
        id: "mysql-decimal",
        why: "a decimal is bound as a decimal: as text it would be compared as a float",
        file: OPERAND,
        from: r#"format!("CAST(? AS DECIMAL({significant},{scale}))")"#,
        to: r#""?".to_owned()"#,
        caught_by: &[W22],
    },
    Mutant {
        id: "mysql-zero-date-null",
        why: "a zero date IS NULL, also in a column that has no nulls",
        file: RENDER,
        from: r#"format!("({name} IS NULL OR MONTH({name}) = 0 OR DAYOFMONTH({name}) = 0)")"#,
        to: r#"format!("({name} IS NULL)")"#,
        caught_by: &[W19],
    },
    Mutant {
        id: "mysql-zero-date-compared",
        why: "dates that may be zero are compared again here",
        file: RENDER,
        from: "Means { superset: Some(ZERO_DATES.into()), ..plain }",
        to: "plain",
        caught_by: &[W19],
    },
    Mutant {
        id: "mysql-zero-date-guard",
        why: "a zero date that is compared is an error there as here",
        file: RENDER,
        from: "guarded.map(|operand| operand.sql.clone()).collect()",
        to: "guarded.map(|operand| operand.sql.clone()).filter(|_| false).collect()",
        caught_by: &[W19_ERRORS],
    },
    Mutant {
        id: "mysql-zero-date-shape",
        why: "and one that is grouped, ordered or aggregated",
        file: SELECT,
        from: "all.guard(name);",
        to: "drop(name);",
        caught_by: &[W19_ERRORS],
    },
    Mutant {
        id: "mysql-sum-wraps",
        why: "a sum of bigints in a bigint stays: it wraps here and not there",
        file: SHAPE,
        from: "sum_verdict(call, column)",
        to: "if call.output == DataType::Int64 { Verdict::Exact } else { sum_verdict(call, column) }",
        caught_by: &[W22],
    },
    Mutant {
        id: "mysql-sum-digits",
        why: "a sum that may need more than 65 digits stays",
        file: SHAPE,
        from: "from == to && *digits <= SUMMED_DIGITS",
        to: "from == to && *digits > 0",
        caught_by: &[W22],
    },
    Mutant {
        id: "mysql-bound",
        why: "a text travels as a bound value",
        file: OPERAND,
        from: "return bound(Class::Text, Value::Bytes(text.ok_or(NULL)?.into()));",
        to: r#"return Ok(Operand {
            sql: format!("'{}'", text.ok_or(NULL)?),
            values: vec![],
            class: Class::Text,
            column: None,
            rests_on: None,
        });"#,
        caught_by: &["stores::mysql::hostile::trap_f1"],
    },
    Mutant {
        id: "mysql-name",
        why: "a backtick in a name is doubled",
        file: "catalog/src/mysql/literal.rs",
        from: r#"quoted.push_str("``")"#,
        to: r#"quoted.push('`')"#,
        caught_by: &["stores::mysql::hostile::trap_f1_names"],
    },
];
