use sync_core::{
    control::{FolderState, FoundBy},
    secret::Level,
};
use syncd::control::fake;

use super::*;

fn with(state: FolderState, in_sync: usize) -> Folder {
    let mut folder = fake::folder("Docs", "/docs", Level::ReadWrite);
    folder.state = state;
    folder.peers = (0..2)
        .map(|at| fake::peer("D", "d", "h:1", FoundBy::Lan, at < in_sync))
        .collect();
    folder
}

#[test]
fn in_sync_counts_peers_only_if_they_are_asked_for() {
    assert!(matches!(
        look(&with(FolderState::InSync, 0), None),
        Look::Done
    ));
    assert!(matches!(
        look(&with(FolderState::InSync, 1), Some(1)),
        Look::Done
    ));
    assert!(matches!(
        look(&with(FolderState::InSync, 1), Some(2)),
        Look::NotYet
    ));
    assert!(matches!(
        look(&with(FolderState::NoPeers, 0), None),
        Look::NotYet
    ));
    assert!(matches!(
        look(&with(FolderState::NoPeers, 0), Some(0)),
        Look::Done
    ));
    assert!(matches!(
        look(&with(FolderState::Scanning, 2), Some(0)),
        Look::NotYet
    ));
}

#[test]
fn what_cannot_come_by_itself_is_not_waited_for() {
    for state in [FolderState::Stopped, FolderState::Held, FolderState::Paused] {
        let Look::Hopeless(failure) = look(&with(state, 1), None) else {
            panic!("{state} was waited for")
        };
        assert_eq!(failure.exit(), Exit::Failed);
        assert!(failure.hint().is_some_and(|hint| hint.contains("syncctl")));
    }
}

/// A daemon that takes connections and says nothing, as one that was stopped with SIGSTOP.
#[tokio::test(start_paused = true)]
async fn a_daemon_that_does_not_answer_is_not_waited_for_longer() {
    let dir = tempfile::tempdir().unwrap();
    let home = crate::Home::resolve(Some(dir.path())).unwrap();
    let _silent = tokio::net::UnixListener::bind(home.socket()).unwrap();
    let client = Client::new(home);
    for timeout in [0, 7] {
        let args = Args {
            folder: "Docs".into(),
            timeout: Some(timeout),
            peers: None,
        };
        let began = Instant::now();
        let failure = args.run(&client, &mut Out::system()).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::TimedOut);
        let waited = Duration::from_secs(timeout).max(FIRST_LOOK);
        assert!(began.elapsed() < waited + Duration::from_millis(50));
    }
}
