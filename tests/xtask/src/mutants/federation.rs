//! What holds for every kind of source, taken away: the local filter behind a superset, and where none may be sent.

use super::switch::Mutant;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "superset-local",
        why: "a superset is evaluated here again",
        file: "catalog/src/federation/table.rs",
        from: "local.push(expr.clone());",
        to: "",
        caught_by: &["stores::mysql::gate::trap_w9"],
    },
    Mutant {
        id: "superset-limit",
        why: "no limit goes down beside a filter of ours",
        file: "catalog/src/federation/table.rs",
        from: "limit.filter(|_| pushdown && local.is_empty())",
        to: "limit.filter(|_| pushdown)",
        caught_by: &["stores::mysql::gate::trap_w9"],
    },
    Mutant {
        id: "superset-aggregate",
        why: "an aggregate's own filter is no superset",
        file: "catalog/src/federation/cut/aggregate.rs",
        from: "passed(decide(self.below.leaf.executor(), &self.fragment.table, &told.expr))?;",
        to: "if let crate::federation::Verdict::Keep(reason) = \
             decide(self.below.leaf.executor(), &self.fragment.table, &told.expr) { return Err(reason); }",
        caught_by: &["stores::mysql::gate::trap_w9"],
    },
    Mutant {
        id: "null-aware-join",
        why: "NOT IN is not NOT EXISTS",
        file: "catalog/src/federation/cut/join.rs",
        from: "join.null_aware",
        to: "false",
        caught_by: &["stores::postgres::traps::trap_w15_not_in_is_not_not_exists"],
    },
    Mutant {
        id: "compute-context",
        why: "two databases, or two accounts, share no statement",
        file: "catalog/src/federation/cut/join.rs",
        from: "known && left == right",
        to: "known",
        caught_by: &[
            "stores::mysql::shapes::trap_w13_two_databases_share_no_statement",
            "stores::postgres::kinds::trap_w13_sources_that_differ_only_in_their_role_share_no_statement",
        ],
    },
];
