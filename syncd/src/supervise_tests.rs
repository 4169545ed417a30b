use super::*;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// A part that panics when told to.
struct Part(Option<Reporter>);

impl Actor for Part {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        if !std::thread::panicking()
            && let Some(reporter) = self.0.take()
        {
            reporter.down(Down::Done);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
enum Tell {
    Panic,
    Stop,
}

impl Handler<Tell> for Part {
    type Result = ();

    fn handle(&mut self, tell: Tell, ctx: &mut Self::Context) {
        match tell {
            Tell::Panic => panic!("a test's panic"),
            Tell::Stop => ctx.stop(),
        }
    }
}

#[actix::test]
async fn a_part_is_made_anew_after_a_panic_and_stays_down_after_a_stop() {
    let board = Board::default();
    let root = Root::new(board.clone()).start();
    let starts = Arc::new(AtomicU32::new(0));
    let (sender, mut parts) = tokio::sync::mpsc::unbounded_channel();
    let count = Arc::clone(&starts);
    let factory: Factory = Box::new(move |reporter| {
        if count.fetch_add(1, Ordering::Relaxed) == 1 {
            return Err("the second start fails".into());
        }
        let part = Part(Some(reporter)).start();
        sender.send(part.clone()).unwrap();
        Ok(Box::new(move || part.do_send(Tell::Stop)))
    });
    let policy = Policy {
        first_pause: Duration::from_millis(1),
        ..Policy::vital()
    };
    root.send(AddChild(ChildSpec {
        name: "part".into(),
        policy,
        factory,
    }))
    .await
    .unwrap();
    parts.recv().await.unwrap().do_send(Tell::Panic);
    let third = parts.recv().await.unwrap();
    assert_eq!(starts.load(Ordering::Relaxed), 3);
    assert_eq!(board.state("part"), Some(ChildState::Running));
    let (done, ended) = oneshot::channel();
    root.send(EndChild {
        name: "part".into(),
        done,
    })
    .await
    .unwrap();
    ended.await.unwrap();
    assert!(!third.connected());
    assert_eq!(board.state("part"), None);
    assert_eq!(starts.load(Ordering::Relaxed), 3);
}
#[actix::test]
async fn a_part_restarted_on_purpose_comes_back_at_once_and_has_not_failed() {
    let board = Board::default();
    let root = Root::new(board.clone()).start();
    let (sender, mut parts) = tokio::sync::mpsc::unbounded_channel();
    let factory: Factory = Box::new(move |reporter| {
        let part = Part(Some(reporter)).start();
        sender.send(part.clone()).unwrap();
        Ok(Box::new(move || part.do_send(Tell::Stop)))
    });
    let policy = Policy {
        first_pause: Duration::from_secs(3600),
        max_failures: 1,
        ..Policy::optional()
    };
    root.do_send(AddChild(ChildSpec {
        name: "part".into(),
        policy,
        factory,
    }));
    for _ in 0..5 {
        parts.recv().await.unwrap();
        // Twice is once.
        root.do_send(RestartChild("part".into()));
        root.do_send(RestartChild("part".into()));
    }
    parts.recv().await.unwrap();
    assert_eq!(board.state("part"), Some(ChildState::Running));
    assert!(parts.try_recv().is_err());
    root.send(RestartChild("nobody".into())).await.unwrap();
}
