//! Mutants as switches in the source text: beside what is there stands what would be there without it.
//!
//! All mutants are built into one program, which becomes one of them by a variable of its environment: building once
//! takes minutes, once a mutant would take hours. Pure text to text; it must never guess: a text that is not found
//! exactly once is an offence.

use std::collections::BTreeMap;

/// The variable that names the mutant a process is.
pub(super) const VARIABLE: &str = "PORTOLAN_MUTANT";

/// One thing removed, and the tests that notice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mutant {
    /// Its name, in one word.
    pub(super) id: &'static str,
    /// What is removed.
    pub(super) why: &'static str,
    /// A source file, from the workspace's root.
    pub(super) file: &'static str,
    /// An expression or statements, found exactly once in the file. What ends in a semicolon or a brace gets no
    /// parentheses.
    pub(super) from: &'static str,
    /// What stands there without it, of the same type.
    pub(super) to: &'static str,
    /// Tests, one of which must fail: the target of `catalog/tests`, then the test's own path.
    pub(super) caught_by: &'static [&'static str],
}

impl Mutant {
    /// Its tests, each as the target and the name there.
    pub(super) fn tests(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.caught_by.iter().filter_map(|test| test.split_once("::"))
    }
}

/// The text of a file with a switch for each of its mutants.
///
/// # Errors
/// One sentence for each mutant whose place is not known.
pub(super) fn switched(text: &str, mutants: &[&Mutant]) -> Result<String, Vec<String>> {
    let mut places: BTreeMap<usize, Vec<&Mutant>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for mutant in mutants {
        let found: Vec<usize> = text.match_indices(mutant.from).map(|(at, _)| at).collect();
        match found.as_slice() {
            [at] => places.entry(*at).or_default().push(mutant),
            other => wrong.push(format!(
                "mutant \"{}\": its text is found {} times in {}",
                mutant.id,
                other.len(),
                mutant.file
            )),
        }
    }
    let mut switched = text.to_owned();
    let mut next = text.len();
    for (at, here) in places.iter().rev() {
        let Some(first) = here.first() else { continue };
        let end = at + first.from.len();
        if end > next || here.iter().any(|mutant| mutant.from != first.from) {
            wrong.push(format!("mutant \"{}\": its text overlaps another's in {}", first.id, first.file));
            continue;
        }
        switched.replace_range(*at..end, &switch(first.from, here));
        next = *at;
    }
    if wrong.is_empty() { Ok(switched) } else { Err(wrong) }
}

/// What stands at one place.
fn switch(from: &str, here: &[&Mutant]) -> String {
    let mut choice = String::new();
    for Mutant { id, to, .. } in here {
        choice.push_str(&format!(
            "if std::env::var_os(\"{VARIABLE}\").is_some_and(|name| name == \"{id}\") {{ {to} }} else "
        ));
    }
    choice.push_str(&format!("{{ {from} }}"));
    // Statements stand by themselves; an expression may be a part of a larger one.
    if from.ends_with([';', '}']) { choice } else { format!("({choice})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(id: &'static str, from: &'static str, to: &'static str) -> Mutant {
        Mutant { id, why: "", file: "a.rs", from, to, caught_by: &["stores::a::b", "stores::c"] }
    }

    #[test]
    fn a_place_has_a_switch_for_each_of_its_mutants() {
        let (one, two, three) =
            (mutant("one", "a + b", "a"), mutant("two", "f(x);", ""), mutant("three", "a + b", "b"));
        let is = |id: &str| {
            format!("if std::env::var_os(\"PORTOLAN_MUTANT\").is_some_and(|name| name == \"{id}\")")
        };
        assert_eq!(
            switched("let y = (a + b) * 2; f(x);", &[&one, &two, &three]).unwrap(),
            format!(
                "let y = (({} {{ a }} else {} {{ b }} else {{ a + b }})) * 2; {} {{  }} else {{ f(x); }}",
                is("one"),
                is("three"),
                is("two")
            )
        );
    }

    #[test]
    fn what_is_not_found_once_and_what_overlaps_is_refused() {
        let refused = |text, mutants: &[&Mutant]| switched(text, mutants).unwrap_err().concat();
        assert!(
            refused("a b", &[&mutant("m", "c", "")]).contains("\"m\": its text is found 0 times in a.rs")
        );
        assert!(refused("a a", &[&mutant("m", "a", "")]).contains("found 2 times"));
        assert!(refused("a b c", &[&mutant("m", "a b", ""), &mutant("n", "b c", "")]).contains("overlaps"));
        assert!(refused("a b c", &[&mutant("m", "a b", ""), &mutant("n", "a", "")]).contains("overlaps"));
    }

    #[test]
    fn a_test_is_a_target_and_a_name() {
        let tests: Vec<_> = mutant("m", "a", "b").tests().collect();
        assert_eq!(tests, [("stores", "a::b"), ("stores", "c")]);
    }
}
