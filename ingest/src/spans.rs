//! Sets of half-open time spans, as sorted disjoint pairs of microseconds.
//!
//! Everything the weather rules say about overlaps is said with these few operations, so that no hour counts twice.

/// Sorted, disjoint, non-empty spans `[start, end)` in microseconds since 1970 UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spans(Vec<(i64, i64)>);

impl Spans {
    pub(crate) fn one(start: i64, end: i64) -> Self {
        Self::of(vec![(start, end)])
    }

    /// Any spans, in any order, overlapping or not.
    pub(crate) fn of(mut spans: Vec<(i64, i64)>) -> Self {
        spans.retain(|(start, end)| start < end);
        spans.sort_unstable();
        let mut out: Vec<(i64, i64)> = Vec::with_capacity(spans.len());
        for (start, end) in spans {
            match out.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => out.push((start, end)),
            }
        }
        Self(out)
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied().collect())
    }

    pub(crate) fn intersect(&self, other: &Self) -> Self {
        let mut out = Vec::new();
        for (start, end) in &self.0 {
            let from = other.0.partition_point(|span| span.1 <= *start);
            for span in other.0.iter().skip(from) {
                if span.0 >= *end {
                    break;
                }
                out.push(((*start).max(span.0), (*end).min(span.1)));
            }
        }
        Self(out)
    }

    pub(crate) fn subtract(&self, other: &Self) -> Self {
        let mut out = Vec::new();
        for (start, end) in &self.0 {
            let mut at = *start;
            let from = other.0.partition_point(|span| span.1 <= *start);
            for span in other.0.iter().skip(from) {
                if span.0 >= *end {
                    break;
                }
                if span.0 > at {
                    out.push((at, span.0));
                }
                at = at.max(span.1);
            }
            if at < *end {
                out.push((at, *end));
            }
        }
        Self(out)
    }

    /// Total length in microseconds.
    pub(crate) fn length(&self) -> i64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_agree_with_each_other() {
        let a = Spans::of(vec![(0, 10), (20, 30), (5, 12)]);
        let b = Spans::of(vec![(8, 22), (25, 26)]);
        assert_eq!(a.length(), 22);
        assert_eq!(a.intersect(&b), Spans::of(vec![(8, 12), (20, 22), (25, 26)]));
        assert_eq!(a.subtract(&b).length() + a.intersect(&b).length(), a.length());
        assert_eq!(a.union(&b), Spans::of(vec![(0, 30)]));
        assert_eq!(Spans::one(0, 10).intersect(&Spans::one(10, 20)).length(), 0);
    }
}
