use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use proptest::prelude::*;
use sync_core::keys::FolderId;

use super::*;

const FOLDER: FolderId = FolderId([7; 32]);

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn folder_file(dir: &Path) -> PathBuf {
    dir.join(format!("folder-{}", "07".repeat(32)))
}

#[test]
fn a_crash_before_the_rename_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    write_atomic(dir.path(), "name", b"old", 0o600).unwrap();
    // What a crash leaves: a temporary, whole or torn, that was never renamed.
    fs::write(dir.path().join(file::temp_name("name")), b"ne").unwrap();
    assert_eq!(
        read_bounded(&dir.path().join("name"), 10).unwrap().unwrap(),
        b"old"
    );
    write_atomic(dir.path(), "name", b"newer", 0o640).unwrap();
    assert_eq!(fs::read(dir.path().join("name")).unwrap(), b"newer");
    assert_eq!(mode(&dir.path().join("name")), 0o640);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_write_that_fails_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("name")).unwrap();
    fs::write(dir.path().join("name/inside"), b"x").unwrap();
    assert!(write_atomic(dir.path(), "name", b"new", 0o600).is_err());
    assert!(dir.path().join("name/inside").exists());
    assert!(!dir.path().join(file::temp_name("name")).exists());
}

#[test]
fn reading_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    assert!(read_bounded(&path, 3).unwrap().is_none());
    fs::write(&path, b"four").unwrap();
    assert!(read_bounded(&path, 3).is_err());
    assert_eq!(read_bounded(&path, 4).unwrap().unwrap(), b"four");
}

#[test]
fn the_device_keeps_its_secret_and_its_files_private() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("identity");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let first = DeviceIdentity::load_or_create(&dir, 5).unwrap();
    let again = DeviceIdentity::load_or_create(&dir, 9).unwrap();
    assert_eq!(first.secret(), again.secret());
    assert_eq!(again.created_unix_ns(), 5);
    assert_eq!((mode(&dir), mode(&dir.join("device"))), (0o700, 0o600));
    assert_eq!(format!("{first:?}"), "DeviceIdentity(secret)");
}

#[test]
fn a_damaged_device_file_is_told_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    DeviceIdentity::load_or_create(dir.path(), 5).unwrap();
    let path = dir.path().join("device");
    let good = fs::read(&path).unwrap();
    for bad in [
        vec![],
        good[..20].to_vec(),
        vec![0; 100_000],
        flip(&good, 12),
    ] {
        fs::write(&path, &bad).unwrap();
        let error = DeviceIdentity::load_or_create(dir.path(), 6).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bad);
    }
}

fn flip(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
fn a_folder_keeps_what_it_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _, came) = FolderIdentity::open(dir.path(), &FOLDER).unwrap();
    assert_eq!(came, Origin::New);
    let marker = *first.root_marker();
    let (second, _, came) = FolderIdentity::open(dir.path(), &FOLDER).unwrap();
    assert_eq!(came, Origin::Kept);
    assert_eq!(second.replica(), first.replica());
    assert_eq!(second.era(), 0);
    assert_eq!(*second.root_marker(), marker);
    assert_eq!(mode(&folder_file(dir.path())), 0o600);
}

#[test]
fn a_damaged_folder_file_makes_a_new_replica() {
    let dir = tempfile::tempdir().unwrap();
    let path = folder_file(dir.path());
    let (old, ..) = FolderIdentity::open(dir.path(), &FOLDER).unwrap();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        fs::write(&path, flip(&good, at)).unwrap();
        let (new, _, came) = FolderIdentity::open(dir.path(), &FOLDER).unwrap();
        let Origin::Replaced { moved_to, .. } = came else {
            panic!("not replaced at {at}")
        };
        assert_eq!(fs::read(moved_to).unwrap(), flip(&good, at));
        assert_ne!(new.replica(), old.replica());
        assert_ne!(new.root_marker(), old.root_marker());
    }
}

#[test]
fn a_new_replica_has_new_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let (mut folder, reserved, _) = FolderIdentity::open(dir.path(), &FOLDER).unwrap();
    let old = folder.replica();
    let new = folder.new_replica().unwrap();
    assert_ne!(new.replica, old);
    assert_eq!(new.replica, folder.replica());
    assert!(new.counters.start >= reserved.counters.end && !new.counters.is_empty());
}

#[test]
fn secrets_survive_and_stay_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secrets.toml");
    let mut secrets = SecretsFile::open(&path).unwrap();
    secrets.insert("b.2 \"x\"", "SECRET2").unwrap();
    secrets.insert("a", "SECRET1").unwrap();
    assert_eq!(mode(&path), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut again = SecretsFile::open(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(again.folders().collect::<Vec<_>>(), ["a", "b.2 \"x\""]);
    assert_eq!(again.secret("b.2 \"x\""), Some("SECRET2"));
    again.remove("a").unwrap();
    assert_eq!(SecretsFile::open(&path).unwrap().secret("a"), None);
    assert!(!format!("{again:?}").contains("SECRET"));
}

#[test]
fn errors_about_secrets_do_not_quote_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secrets.toml");
    for bad in [
        "[folders]\na = \"SECRET\"x\n",
        "[folders]\na = 1\n",
        "SECRET",
        "[other]\nb=\"SECRET\"",
    ] {
        fs::write(&path, bad).unwrap();
        let error = SecretsFile::open(&path).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged { .. }));
        assert!(
            !format!("{error} {error:?}").contains("SECRET"),
            "{error:?}"
        );
    }
}

#[derive(Debug, Clone)]
enum Step {
    Restart,
    Reserve(u64, u64),
    NewReplica,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Restart),
        (0..1u64 << 26, 0..1u64 << 26).prop_map(|(c, s)| Step::Reserve(c, s)),
        Just(Step::NewReplica),
    ];
    proptest::collection::vec(step, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn ranges_never_overlap(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let (mut folder, first, _) = FolderIdentity::open(dir.path(), &FOLDER).unwrap();
        // Ends up to which numbers may have been used so far, and those in use now.
        let (mut counters, mut seqs) = (first.counters.end, first.seqs.end);
        for step in steps {
            match step {
                Step::Restart => {
                    let (next, reserved, _) = FolderIdentity::open(dir.path(), &FOLDER).unwrap();
                    prop_assert!(reserved.counters.start >= counters);
                    prop_assert!(reserved.seqs.start >= seqs);
                    (folder, counters, seqs) = (next, reserved.counters.end, reserved.seqs.end);
                }
                Step::Reserve(c, s) => {
                    let (c_end, s_end) = folder.reserve(c, s).unwrap();
                    prop_assert!(c_end >= c.max(counters) && s_end >= s.max(seqs));
                    (counters, seqs) = (c_end, s_end);
                }
                Step::NewReplica => {
                    let old = folder.replica();
                    let new = folder.new_replica().unwrap();
                    prop_assert_ne!(new.replica, old);
                    prop_assert!(new.counters.start >= counters);
                    counters = new.counters.end;
                }
            }
        }
    }
}
