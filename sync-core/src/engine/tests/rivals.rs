//! What stands unrecorded when a version comes that doesn't know of it.

use std::time::Duration;

use super::rig::Rig;
use crate::path::RelPath;

const SOON: Duration = Duration::from_secs(10);

/// Node 0 edited a file that node 1 knows of and couldn't fetch. It lost its index since, can't read the file, and hears
/// of its own edit before node 1 makes a directory in the place of the file.
fn edited_lost_and_replaced() -> Rig {
    let mut rig = Rig::apart(2, usize::MAX);
    rig.join(0, 1);
    rig.write(0, "x", b"first", 1);
    rig.settle();
    rig.mute = Some(0);
    rig.write(0, "x", b"edited", 2);
    rig.run(SOON);
    rig.part(0, 1);
    rig.run(SOON);
    assert_eq!(rig.read(1, "x"), Some(b"first".to_vec()));

    rig.unreadable.insert((0, RelPath::parse(b"x").unwrap()));
    rig.start_anew(0);
    rig.run(SOON);
    rig.join(0, 1);
    rig.run(SOON);
    rig.remove(1, "x");
    rig.write(1, "x/inner", b"inner", 3);
    rig.run(SOON);
    rig
}

#[test]
fn the_only_copy_of_an_edit_is_not_archived_for_a_rival() {
    let mut rig = edited_lost_and_replaced();
    assert_eq!(
        rig.read(0, "x"),
        Some(b"edited".to_vec()),
        "nothing is known of it"
    );
    rig.unreadable.clear();
    rig.mute = None;
    for _ in 0..20 {
        rig.run(SOON);
    }
    let tree = rig.tree(0);
    assert!(tree.contains_key("x/inner"), "{tree:?}");
    let copies: Vec<_> = tree
        .iter()
        .filter(|(_, bytes)| *bytes == b"edited")
        .collect();
    assert_eq!(copies.len(), 1, "{tree:?}");
    assert_eq!(rig.tree(1), tree);
}
