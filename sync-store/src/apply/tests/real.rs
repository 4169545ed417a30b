//! A few groups on a real directory.

use super::*;
use crate::fs::RootDisk;

#[test]
fn a_group_on_a_real_directory() {
    let place = tempfile::tempdir().unwrap();
    let disk = Arc::new(RootDisk::open(place.path()).unwrap());
    let applier = applier(&disk, true);
    applier.recover().unwrap();
    let mut group = vec![dir("sub", Expect::Absent)];
    for n in 0..20 {
        group.push(file(
            &format!("sub/f{n}"),
            format!("content {n}").as_bytes(),
            Expect::Absent,
        ));
    }
    let outcomes = applier.apply(group);
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    let read = |at: &str| std::fs::read(place.path().join(at)).unwrap();
    assert_eq!(read("sub/f7"), b"content 7");
    let known = |n: usize| match &outcomes[n + 1] {
        Outcome::Done {
            stat: Some(stat), ..
        } => Expect::Stat(*stat),
        other => panic!("{other:?}"),
    };
    // Edited by somebody: stale. Not edited: replaced, and the old one is in the archive.
    std::fs::write(place.path().join("sub/f2"), b"longer than before").unwrap();
    let group = vec![
        file("sub/f1", b"second", known(1)),
        file("sub/f2", b"never", known(2)),
        remove("sub/f3", known(3)),
        Action::Rename {
            from: path("sub/f4"),
            expect_from: known(4),
            to: path("sub/g4"),
            meta: META,
        },
        Action::Symlink {
            path: path("sub/f5"),
            target: b"f6".to_vec(),
            expect: known(5),
            displaced: Displaced::Copy(path("sub/f5 copy")),
        },
    ];
    let outcomes = applier.apply(group);
    let done: Vec<_> = outcomes.iter().map(is_done).collect();
    assert_eq!(done, [true, false, true, true, true], "{outcomes:?}");
    assert_eq!(read("sub/f1"), b"second");
    assert_eq!(read("sub/f2"), b"longer than before");
    assert_eq!(read("sub/g4"), b"content 4");
    assert_eq!(read("sub/f5"), b"content 6", "through the link");
    assert_eq!(read("sub/f5 copy"), b"content 5");
    let items = applier.archive().list(None, 10).unwrap();
    let mut originals: Vec<_> = items.into_iter().map(|i| i.original.display()).collect();
    originals.sort();
    assert_eq!(originals, ["sub/f1", "sub/f3"]);
    let left = std::fs::read_dir(place.path().join(".sync/tmp"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
    let again = applier.recover().unwrap();
    assert_eq!(again, crate::apply::Recovered::default());
}
