//! The quiet part of a run: the cluster comes to rest, is judged, and must stay at rest.

use std::{collections::BTreeSet, time::Duration};

use sync_core::{engine::Input, index::Index as _};

use super::{Event, IDLE, REST_LIMIT, Simulation, trace};

/// So long nothing may be sent or written before the cluster counts as quiet.
const QUIET: Duration = Duration::from_secs(8);

impl Simulation {
    /// Lets the cluster come to rest, and judges it.
    pub(crate) fn come_to_rest(&mut self) {
        let limit = self.now + REST_LIMIT;
        let mut verdict = Err("nothing was judged".to_owned());
        while self.failure.is_none() && self.now < limit {
            let next = (self.active_at + QUIET).max(self.now + Duration::from_millis(500));
            self.run_until(next.min(limit));
            if self.now < self.active_at + QUIET {
                continue;
            }
            // What a watcher missed is still to be found.
            let unseen = self.heap.any(|event| matches!(event, Event::Watch(..)));
            if unseen || self.settle_held() {
                continue;
            }
            verdict = self
                .oracle
                .judge(&self.nodes)
                .and_then(|()| self.compare_shadow())
                .and_then(|()| self.ways_agree());
            if verdict.is_ok() {
                return;
            }
        }
        if let Err(why) = verdict {
            let last = self.active_at.as_secs_f64();
            let restless = self.active_at + QUIET > self.now;
            let now = self.oracle.judge(&self.nodes);
            let what = if restless {
                format!("restless: at the end {now:?}, before ")
            } else {
                String::new()
            };
            self.fail(format!("{what}{why} (last activity at {last:.3} s)"));
        }
    }

    /// Lets held deletions go, or fetches the files back. Whether there were any.
    fn settle_held(&mut self) -> bool {
        let mut any = false;
        for number in 0..self.nodes.len() {
            let held = self.nodes[number]
                .index()
                .totals()
                .is_ok_and(|t| t.held_back > 0);
            if held && self.nodes[number].live.is_some() {
                any = true;
                self.totals.held += 1;
                let input = if self.seed.is_multiple_of(2) {
                    Input::Approve
                } else {
                    Input::Reject
                };
                self.tell(number, input);
            }
        }
        any
    }

    fn compare_shadow(&self) -> Result<(), String> {
        let Some((only, shadow)) = &self.shadow else {
            return Ok(());
        };
        if self.oracle.index_lost || self.totals.held > 0 {
            return Ok(());
        }
        let tree = self.nodes[*only].disk.snapshot();
        let said = shadow.snapshot();
        let paths: BTreeSet<_> = tree.keys().chain(said.keys()).collect();
        for path in paths {
            let (a, b) = (tree.get(path), said.get(path));
            let same = match (a, b) {
                (Some(a), Some(b)) => (a.kind, &a.bytes, a.mode) == (b.kind, &b.bytes, b.mode),
                _ => false,
            };
            if !same {
                let shown = trace::Shown(path);
                return Err(format!(
                    "mirror: {shown} isn't as its only writer left it: {a:?} for {b:?}"
                ));
            }
        }
        Ok(())
    }

    /// A cluster at rest stays at rest.
    pub(crate) fn watch_idle(&mut self) {
        let count = |s: &Self| -> (u64, u64) {
            (s.activity, s.nodes.iter().map(|n| n.disk.mutations()).sum())
        };
        // What is flushed or told last may still be on its way.
        self.run_until(self.now + Duration::from_secs(5));
        let (mut before, mut scans) = (count(self), self.scans);
        self.run_until(self.now + IDLE);
        let mut after = count(self);
        // A file that couldn't be read is looked at once more after a minute, and that may be written down.
        // Of two links that are alike, the other may have become the faster.
        let (mut tries, mut words) = (0, self.totals.words);
        while before != after && (tries == 0 || (tries < 5 && words != self.totals.words)) {
            tries += 1;
            words = self.totals.words;
            (before, scans) = (after, self.scans);
            self.run_until(self.now + IDLE);
            after = count(self);
        }
        let in_vain = self.oracle.in_vain(&self.nodes);
        if self.failure.is_none() && before != after && !in_vain {
            self.fail(format!(
                "idle: sent or wrote {before:?} before and {after:?} after a minute at rest"
            ));
        }
        let scanned = self.scans - scans;
        if self.failure.is_none() && scanned > 3 * self.nodes.len() as u64 {
            self.fail(format!("idle: scanned {scanned} times in a minute at rest"));
        }
    }
}
