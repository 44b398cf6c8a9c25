//! Every trap has a test, or a reason why not.

#[path = "../../xtask/src/traps.rs"]
mod list;

use list::{IDS, NOT_YET, Trap, found, listing, missing};

use super::files;

#[test]
fn every_trap_has_a_test_or_a_reason() {
    let traps = found(&files());
    assert!(!traps.is_empty(), "nothing was read");
    let unexplained: Vec<&str> =
        missing(&traps).into_iter().filter(|(_, reason)| reason.is_none()).map(|(id, _)| id).collect();
    assert_eq!(unexplained, Vec::<&str>::new(), "write the test, or a reason into NOT_YET");
    let unknown =
        traps.iter().flat_map(|trap| &trap.ids).filter(|id| !IDS.iter().any(|(known, _)| known == id));
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&String>::new(), "ids that no list has");
    assert!(
        NOT_YET.iter().all(|(id, reason)| IDS.iter().any(|(known, _)| known == id) && !reason.is_empty())
    );
}

#[test]
fn a_trap_is_read_off_its_test_and_what_is_missing_is_said() {
    let text = "    async fn trap_w4_w5_ids_are_ids() {}\nfn trapped() {}\n";
    let traps = found(&[("a.rs".into(), text.into())]);
    let expected = Trap {
        ids: vec!["W4".into(), "W5".into()],
        test: "trap_w4_w5_ids_are_ids".into(),
        file: "a.rs".into(),
    };
    assert_eq!(traps, [expected]);
    let listed = listing(&traps);
    assert!(listed.contains("W5   trap_w4_w5_ids_are_ids  a.rs"), "{listed}");
    assert!(listed.contains("F1   missing: "), "{listed}");
}
