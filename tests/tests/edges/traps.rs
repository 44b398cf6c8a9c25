//! Every trap has a test.

#[path = "../../xtask/src/traps.rs"]
mod list;

use list::{IDS, Trap, found, listing, missing};

use super::files;

#[test]
fn every_trap_has_a_test() {
    let traps = found(&files());
    assert!(!traps.is_empty(), "nothing was read");
    assert_eq!(missing(&traps), Vec::<&str>::new(), "write the test");
    let unknown =
        traps.iter().flat_map(|trap| &trap.ids).filter(|id| !IDS.iter().any(|(known, _)| known == id));
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&String>::new(), "ids that no list has");
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
    assert!(listed.contains("F1   missing"), "{listed}");
}
