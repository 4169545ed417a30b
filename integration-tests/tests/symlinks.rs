//! A symlink's text is what its user wrote: one that loses its name is kept as a copy.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::collections::BTreeMap;

use integration_tests::sim::{Simulation, user::Op};
use sync_store::fs::NodeKind;

fn links(sim: &Simulation, node: usize) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = sim.tree(node).into_iter();
    all.filter(|(_, node)| node.kind == NodeKind::Symlink)
        .map(|(path, node)| (text(&path), text(&node.bytes)))
        .collect()
}

fn link(sim: &mut Simulation, node: usize, path: &str, to: &str) {
    sim.must(node, &Op::Symlink(path.into(), to.into()));
}

#[test]
fn two_links_at_one_path_are_both_kept() {
    let mut sim = Simulation::started(1, 3, false);
    sim.isolate(0);
    link(&mut sim, 0, "way", "to/the/hills");
    link(&mut sim, 1, "way", "to/the/sea");
    sim.pause();
    sim.join_all();
    sim.settle();
    let found = links(&sim, 0);
    let texts: Vec<_> = found.values().map(String::as_str).collect();
    assert_eq!(texts.len(), 2, "{found:?}");
    assert!(texts.contains(&"to/the/hills") && texts.contains(&"to/the/sea"));
    assert!(found.contains_key("way"));
    assert!(found.keys().any(|path| path.starts_with("way (conflict ")));
    assert_eq!(found, links(&sim, 1));
    assert_eq!(found, links(&sim, 2));
}

#[test]
fn a_link_that_loses_against_a_file_is_kept() {
    let mut sim = Simulation::started(2, 2, false);
    sim.isolate(0);
    link(&mut sim, 0, "name", "somewhere");
    sim.write(1, "name", b"a file");
    sim.pause();
    sim.join_all();
    sim.settle();
    for node in 0..2 {
        assert_eq!(sim.files(node)["name"], b"a file");
        let found = links(&sim, node);
        assert_eq!(
            found.values().collect::<Vec<_>>(),
            ["somewhere"],
            "{found:?}"
        );
    }
}
