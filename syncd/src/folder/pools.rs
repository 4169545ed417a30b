//! The threads that run the folders' jobs: a few for each kind of work, however many folders there are.
//!
//! | pool | lanes | why apart |
//! |---|---|---|
//! | scan | scans, sweeps | they last long, and mustn't keep others waiting |
//! | apply | groups of actions | what a user waits for |
//! | write | chunks into temporaries | they keep up with the network |
//! | store | flushes, reserved numbers, opening and closing | they wait for the disk to be durable |
//!
//! Within a pool folders take turns: a folder has at most one job of a lane under way, since its driver gives no
//! more, and what waits is done in the order in which it came. A job that panics is told to its folder, and the
//! thread lives on.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use sync_store::driver::Lane;

type Run = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Run>,
    closed: bool,
}

struct Pool {
    queue: Mutex<Queue>,
    more: Condvar,
}

impl Pool {
    fn start(name: &'static str, threads: usize) -> std::io::Result<Arc<Self>> {
        let pool = Arc::new(Self {
            queue: Mutex::default(),
            more: Condvar::new(),
        });
        for _ in 0..threads {
            let shared = Arc::clone(&pool);
            let spawned = thread::Builder::new()
                .name(format!("folders-{name}"))
                .spawn(move || shared.work());
            if let Err(error) = spawned {
                pool.close();
                return Err(error);
            }
        }
        Ok(pool)
    }

    fn work(&self) {
        loop {
            let mut queue = self.lock();
            let run = loop {
                match queue.waiting.pop_front() {
                    Some(run) => break run,
                    None if queue.closed => return,
                    None => {
                        queue = self
                            .more
                            .wait(queue)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            drop(queue);
            run();
        }
    }

    fn give(&self, run: Run) {
        self.lock().waiting.push_back(run);
        self.more.notify_one();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pools. Their threads end when they are dropped, after what waits has been done.
pub(crate) struct Pools {
    scan: Arc<Pool>,
    apply: Arc<Pool>,
    write: Arc<Pool>,
    store: Arc<Pool>,
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}

impl Pools {
    /// Starts the threads, as many as the machine has use for.
    pub(crate) fn start() -> std::io::Result<Self> {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let some = cores.clamp(2, 4);
        Ok(Self {
            scan: Pool::start("scan", some)?,
            apply: Pool::start("apply", some)?,
            write: Pool::start("write", some)?,
            // They wait for the disk more than for a core.
            store: Pool::start("store", 4)?,
        })
    }

    /// Runs something of a lane when it is its turn. `broke` is called if it panics.
    pub(crate) fn run(
        &self,
        lane: Lane,
        run: impl FnOnce() + Send + 'static,
        broke: impl FnOnce() + Send + 'static,
    ) {
        let pool = match lane {
            Lane::Scan | Lane::Sweep => &self.scan,
            Lane::Apply => &self.apply,
            Lane::Write => &self.write,
            Lane::Store | Lane::Door => &self.store,
        };
        pool.give(Box::new(move || {
            // What it was about is given up by its folder, so nobody sees it half done.
            if catch_unwind(AssertUnwindSafe(run)).is_err() {
                broke();
            }
        }));
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        for pool in [&self.scan, &self.apply, &self.write, &self.store] {
            pool.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_long_scan_does_not_hold_up_what_is_applied() {
        let pools = Pools::start().unwrap();
        let (go_on, wait) = channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        // More scans than threads, none of which ends.
        for _ in 0..8 {
            let wait = Arc::clone(&wait);
            let scan = move || {
                let _ = wait.lock().unwrap().recv();
            };
            pools.run(Lane::Scan, scan, || {});
        }
        let (done, applied) = channel();
        pools.run(Lane::Apply, move || done.send(()).unwrap(), || {});
        applied.recv().unwrap();
        drop(go_on);
    }

    #[test]
    fn a_job_that_panics_is_told_and_the_pool_lives_on() {
        let pools = Pools::start().unwrap();
        let (told, heard) = channel();
        for n in 0..10 {
            let told = told.clone();
            pools.run(
                Lane::Store,
                || panic!("a test's panic"),
                move || told.send(n).unwrap(),
            );
        }
        drop(told);
        let mut all: Vec<i32> = heard.iter().collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        let (done, through) = channel();
        pools.run(Lane::Store, move || done.send(()).unwrap(), || {});
        through.recv().unwrap();
    }
}
