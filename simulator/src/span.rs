//! Half-open intervals of whole seconds, as sorted disjoint sets.
//!
//! All of a call's hours are lengths of such sets, so "counted twice" cannot happen. Never holds an empty interval.

/// A sorted list of disjoint, non-touching, non-empty `[start, end)` intervals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(Vec<(i64, i64)>);

impl Spans {
    /// One interval; empty when `end <= start`.
    pub fn one(start: i64, end: i64) -> Self {
        if start < end { Self(vec![(start, end)]) } else { Self::default() }
    }

    /// The union of any intervals in any order.
    pub fn union_of(intervals: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let mut sorted: Vec<(i64, i64)> = intervals.into_iter().filter(|(start, end)| start < end).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(sorted.len());
        for (start, end) in sorted {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        Self(merged)
    }

    /// The intervals in order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.0.iter().copied()
    }

    /// Whether nothing is covered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Seconds covered.
    pub fn length(&self) -> i64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// What both cover.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut out = Vec::new();
        for &(start, end) in &self.0 {
            for &(from, to) in other.overlapping(start, end) {
                out.push((start.max(from), end.min(to)));
            }
        }
        Self(out)
    }

    /// What this covers and the other does not.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut out = Vec::new();
        for &(start, end) in &self.0 {
            let mut at = start;
            for &(from, to) in other.overlapping(start, end) {
                if from > at {
                    out.push((at, from));
                }
                at = at.max(to);
            }
            if at < end {
                out.push((at, end));
            }
        }
        Self(out)
    }

    /// What either covers.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self::union_of(self.iter().chain(other.iter()))
    }

    /// The part inside `[start, end)`.
    #[must_use]
    pub fn clip(&self, start: i64, end: i64) -> Self {
        Self::one(start, end).and(self)
    }

    /// The first instant at or after `at` that is not covered.
    pub fn next_free(&self, at: i64) -> i64 {
        self.at(at).map_or(at, |(_, end)| end)
    }

    /// The interval that covers `at`.
    pub fn at(&self, at: i64) -> Option<(i64, i64)> {
        let index = self.0.partition_point(|&(_, end)| end <= at);
        self.0.get(index).copied().filter(|&(start, _)| start <= at)
    }

    /// The start of the first interval that starts after `at`.
    pub fn next_start(&self, at: i64) -> Option<i64> {
        let index = self.0.partition_point(|&(start, _)| start <= at);
        self.0.get(index).map(|&(start, _)| start)
    }

    fn overlapping(&self, start: i64, end: i64) -> &[(i64, i64)] {
        let first = self.0.partition_point(|&(_, to)| to <= start);
        let last = self.0.partition_point(|&(from, _)| from < end);
        self.0.get(first..last).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Spans;

    #[test]
    fn sets_behave_like_sets_of_seconds() {
        let a = Spans::union_of([(10, 20), (0, 5), (20, 25), (3, 6), (9, 9)]);
        assert_eq!(a.iter().collect::<Vec<_>>(), vec![(0, 6), (10, 25)]);
        let b = Spans::union_of([(4, 12), (24, 30)]);
        assert_eq!(a.and(&b), Spans::union_of([(4, 6), (10, 12), (24, 25)]));
        assert_eq!(a.minus(&b), Spans::union_of([(0, 4), (12, 24)]));
        assert_eq!(a.or(&b).length(), 30);
        assert_eq!(a.and(&b).length() + a.minus(&b).length(), a.length());
        assert_eq!(Spans::one(0, 10).and(&Spans::one(10, 20)).length(), 0);
        assert_eq!(a.next_free(12), 25);
        assert_eq!(a.next_free(6), 6);
        assert_eq!(a.next_start(0), Some(10));
    }
}
