//! What MongoDB is asked in other words, or not at all, taken away.

use super::switch::Mutant;

const RENDER: &str = "catalog/src/mongodb/render.rs";
const PIPELINE: &str = "catalog/src/mongodb/pipeline.rs";
const EXPRESSION: &str = "catalog/src/mongodb/expression.rs";
const GROUPING: &str = "catalog/src/mongodb/grouping.rs";
const VERDICT: &str = "catalog/src/mongodb/verdict.rs";

const F1: &str = "stores::mongodb::predicates::trap_f1_hostile_strings_and_names_stay_what_they_are";
const W3: &str = "stores::mongodb::traps::trap_w3";
const W8: &str = "stores::mongodb::traps::trap_w8";
const W9: &str = "stores::mongodb::collations::trap_w9_w12_what_is_collated_is_compared_here";
const W17: &str = "stores::mongodb::meaning::trap_w17_arrays_and_missing_fields_are_no_scalars";
const W22: &str = "stores::mongodb::shapes::trap_w22";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "mongodb-not-equal",
        why: "<> keeps out what is null or missing",
        file: RENDER,
        from: r#"doc! { "$nin": [value, Bson::Null] }"#,
        to: r#"doc! { "$nin": [value] }"#,
        caught_by: &[W3],
    },
    Mutant {
        id: "mongodb-not-in",
        why: "NOT IN keeps out what is null or missing",
        file: RENDER,
        from: "values.push(Bson::Null);",
        to: "",
        caught_by: &[W3],
    },
    Mutant {
        id: "mongodb-not-like",
        why: "NOT LIKE keeps out what is null or missing",
        file: RENDER,
        from: r#"operand.tested(doc! { "$ne": Bson::Null }).and(Matcher::Some(other))"#,
        to: "Matcher::Some(other)",
        caught_by: &[W3],
    },
    Mutant {
        id: "mongodb-array",
        why: "an array is not compared by its items",
        file: RENDER,
        from: r#"guarded && self.key != "_id""#,
        to: "false",
        caught_by: &[W17],
    },
    Mutant {
        id: "mongodb-null-is-small",
        why: "within an accumulator null is below nothing",
        file: EXPRESSION,
        from: r#"doc! { "$and": [is_value(value(key)), compared(word)] }.into()"#,
        to: "compared(word)",
        caught_by: &[W17],
    },
    Mutant {
        id: "mongodb-like-end",
        why: "a pattern ends at the end, not before a last newline",
        file: RENDER,
        from: r#"written.push_str("\\z");"#,
        to: r#"written.push('$');"#,
        caught_by: &[W8],
    },
    Mutant {
        id: "mongodb-like-start",
        why: "a pattern begins at the start",
        file: RENDER,
        from: r#"String::from("\\A")"#,
        to: "String::new()",
        caught_by: &[W8],
    },
    Mutant {
        id: "mongodb-like-newline",
        why: "% and _ match a newline",
        file: RENDER,
        from: r#"Regex { pattern: written, options: "s".into() }"#,
        to: r#"Regex { pattern: written, options: "".into() }"#,
        caught_by: &[W8],
    },
    Mutant {
        id: "mongodb-like-quoted",
        why: "what means something in a regular expression is quoted",
        file: RENDER,
        from: r"written.push('\\');",
        to: "",
        caught_by: &[W8],
    },
    Mutant {
        id: "mongodb-nulls",
        why: "the place of nulls in a top-N, by a key of their own",
        file: PIPELINE,
        from: "sort.nulls_first == sort.descending",
        to: "false",
        caught_by: &["stores::mongodb::meaning::trap_w2"],
    },
    Mutant {
        id: "mongodb-view-collation",
        why: "<>, ranges and LIKE stay under a view's own collation",
        file: RENDER,
        from: "operand.kind != Kind::Text || !operand.field.metadata().contains_key(COLLATION_KEY)",
        to: "true",
        caught_by: &[W9],
    },
    Mutant {
        id: "mongodb-view-groups",
        why: "groups, min and max stay under a view's own collation",
        file: VERDICT,
        from: "column.metadata().contains_key(COLLATION_KEY)",
        to: "false",
        caught_by: &[W9],
    },
    Mutant {
        id: "mongodb-collation-order",
        why: "a top-N by text stays where the collection has a collation of its own",
        file: VERDICT,
        from: "!column.metadata().contains_key(PLAIN_KEY)",
        to: "false",
        caught_by: &[W9],
    },
    Mutant {
        id: "mongodb-cast",
        why: "a cast of a column that may change its value stays",
        file: RENDER,
        from: "!is_lossless(from, cast)",
        to: "{ let _cast = from; false }",
        caught_by: &["stores::mongodb::meaning::trap_w5_a_cast_that_changes_values_stays"],
    },
    Mutant {
        id: "mongodb-object-id",
        why: "an object id is compared as one, not as its text",
        file: "catalog/src/mongodb/literal.rs",
        from: "text(value).map(object_id)",
        to: "text(value).map(|text| Constant::Value(Bson::String(text.to_owned())))",
        caught_by: &["stores::mongodb::traps::trap_w4_w5"],
    },
    Mutant {
        id: "mongodb-float",
        why: "not-a-number is the largest, not the smallest",
        file: RENDER,
        from: "operand.kind == Kind::Float && ordered",
        to: "false",
        caught_by: &["stores::mongodb::traps::trap_w25"],
    },
    Mutant {
        id: "mongodb-misfits",
        why: "values of another type are looked for before the server judges by a column",
        file: PIPELINE,
        from: "Check::of(shape, fragment)?",
        to: "Check::of(shape, fragment)?.filter(|_| false)",
        caught_by: &["stores::mongodb::shapes::trap_w6_misfits_are_never_passed_over"],
    },
    Mutant {
        id: "mongodb-sum",
        why: "integers are added as decimals: a sum of longs becomes a double there",
        file: GROUPING,
        from: r#"doc! { "$toDecimal": { "$toLong": value } }"#,
        to: r#"doc! { "$toLong": value }"#,
        caught_by: &[W22],
    },
    Mutant {
        id: "mongodb-sum-digits",
        why: "a sum that may need more than 34 digits stays",
        file: VERDICT,
        from: "*digits <= SUMMED_DIGITS",
        to: "*digits > 0",
        caught_by: &[W22],
    },
    Mutant {
        id: "mongodb-quoted",
        why: "a constant that begins with a dollar is quoted within an accumulator",
        file: EXPRESSION,
        from: r#"Bson::from(doc! { "$literal": operand.clone() })"#,
        to: "operand.clone()",
        caught_by: &[F1],
    },
    Mutant {
        id: "mongodb-names",
        why: "fields whose names mean something in a query are read here",
        file: RENDER,
        from: r"!step.is_empty() && !step.starts_with('$') && !step.contains(['.', '\0'])",
        to: "!step.is_empty()",
        caught_by: &[F1],
    },
];
