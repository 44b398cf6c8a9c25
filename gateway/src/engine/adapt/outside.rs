//! The expressions of a part of a query that belong to it, and not to a subquery in it.
//!
//! What is inside of a subquery has names, windows and groups of its own, and must never be judged or changed with what is
//! around it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Visit, VisitMut, Visitor, VisitorMut};

/// Whether an expression outside of subqueries passes a test.
pub(super) fn any<T: Visit>(tree: &T, test: impl Fn(&Expr) -> bool) -> bool {
    tree.visit(&mut Looking { test, queries: 0 }).is_break()
}

/// Changes each expression outside of subqueries, after its parts; the first error ends it.
pub(super) fn each<T: VisitMut, E>(
    tree: &mut T,
    change: impl FnMut(&mut Expr) -> Result<(), E>,
) -> Result<(), E> {
    match tree.visit(&mut Changing { change, queries: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Looking<F> {
    test: F,
    /// Subqueries around the place that is visited.
    queries: usize,
}

impl<F: Fn(&Expr) -> bool> Visitor for Looking<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.queries = self.queries.saturating_sub(1);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.queries == 0 && (self.test)(expr) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

struct Changing<F> {
    change: F,
    /// As in [`Looking`].
    queries: usize,
}

impl<E, F: FnMut(&mut Expr) -> Result<(), E>> VisitorMut for Changing<F> {
    type Break = E;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<E> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<E> {
        self.queries = self.queries.saturating_sub(1);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<E> {
        if self.queries > 0 {
            return ControlFlow::Continue(());
        }
        match (self.change)(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}
