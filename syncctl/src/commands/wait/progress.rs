//! How far a folder is: a bar on a terminal, a line now and then elsewhere.

use std::{collections::VecDeque, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sync_core::control::{Folder, FolderState};
use tokio::time::Instant;

use crate::{
    commands::folder::needed,
    text::{self, safe},
};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Over what time the rate is measured.
const WINDOW: Duration = Duration::from_secs(5);

/// Follows what a folder needs from look to look. It has no clock of its own.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    counted: Option<Counted>,
    next_line: Option<Instant>,
}

/// What was fetched since the wait began. What is needed may grow meanwhile, so the total does as well.
struct Counted {
    needed: u64,
    done: u64,
    window: VecDeque<(Instant, u64)>,
}

impl Counted {
    fn new(needed: u64) -> Self {
        Self {
            needed,
            done: 0,
            window: VecDeque::new(),
        }
    }

    fn look(&mut self, needed: u64, now: Instant) {
        self.done += self.needed.saturating_sub(needed);
        self.needed = needed;
        self.window.push_back((now, self.done));
        while self
            .window
            .front()
            .is_some_and(|(at, _)| now - *at > WINDOW)
        {
            self.window.pop_front();
        }
    }

    const fn total(&self) -> u64 {
        self.done + self.needed
    }

    /// Bytes per second, once there is enough to tell.
    fn rate(&self) -> Option<u64> {
        let ((from, before), (to, after)) = (self.window.front()?, self.window.back()?);
        let time = *to - *from;
        (time >= Duration::from_millis(500))
            .then(|| ((after - before) as f64 / time.as_secs_f64()) as u64)
    }

    /// What is left at that rate.
    fn left(&self) -> Option<Duration> {
        let rate = self.rate().filter(|rate| *rate > 0)?;
        Some(Duration::from_secs(self.needed.div_ceil(rate)))
    }
}

impl Progress {
    pub(super) fn new(terminal: bool) -> Self {
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self {
            bar,
            counted: None,
            next_line: None,
        }
    }

    /// Takes a look at the folder. Returns a line to be written, if one is due.
    pub(super) fn show(&mut self, folder: &Folder, now: Instant) -> Option<String> {
        let counted = self
            .counted
            .get_or_insert_with(|| Counted::new(folder.need.bytes));
        counted.look(folder.need.bytes, now);
        let fetching = folder.state == FolderState::Syncing && counted.total() > 0;
        let text = words(folder, counted, fetching, self.bar.is_none());
        if let Some(bar) = &self.bar {
            bar.set_style(style(fetching));
            bar.set_length(counted.total());
            bar.set_position(counted.done);
            bar.set_prefix(safe(&folder.name));
            bar.set_message(text);
            return None;
        }
        let due = *self.next_line.get_or_insert(now + LINE_EVERY);
        (now >= due).then(|| {
            self.next_line = Some(now + LINE_EVERY);
            format!("{}: {text}", safe(&folder.name))
        })
    }

    /// Takes the bar off the screen.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar where it is known how much there is in all, else a sign of life.
fn style(fetching: bool) -> ProgressStyle {
    let template = if fetching {
        "{prefix} [{bar:24}] {percent:>3}%  {wide_msg}"
    } else {
        "{spinner} {prefix}: {wide_msg}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
        .tick_chars("|/-\\ ")
}

fn words(folder: &Folder, counted: &Counted, fetching: bool, whole: bool) -> String {
    if fetching {
        let done = format!(
            "{} of {}",
            text::size(counted.done),
            text::size(counted.total())
        );
        let files = match folder.need.files {
            0 => String::new(),
            files => format!(", {} left", text::many(files, "file", "files")),
        };
        let rate = counted
            .rate()
            .map(|rate| format!(", {}", text::rate(rate)))
            .unwrap_or_default();
        let left = counted
            .left()
            .map(|left| format!(", ETA {}", text::left(left)))
            .unwrap_or_default();
        let state = if whole { "syncing, " } else { "" };
        return format!("{state}{done}{files}{rate}{left}");
    }
    match (folder.state, folder.scan) {
        (FolderState::Scanning, Some(scan)) => {
            let entries = text::many(scan.entries, "entry", "entries");
            format!("scanning, {entries}, {}", text::size(scan.bytes))
        }
        (FolderState::Scanning, None) => "scanning".into(),
        (FolderState::NoPeers, _) => "waiting for a peer".into(),
        (FolderState::InSync, _) => "waiting for more peers to be in sync".into(),
        _ => format!("syncing, {} left", needed(folder)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_growth_is_no_progress() {
        let start = Instant::now();
        let mut counted = Counted::new(1_000);
        counted.look(1_000, start);
        assert_eq!(counted.rate(), None);
        counted.look(800, start + Duration::from_secs(1));
        assert_eq!(
            (counted.rate(), counted.left()),
            (Some(200), Some(Duration::from_secs(4)))
        );
        counted.look(1_800, start + Duration::from_secs(2));
        assert_eq!((counted.done, counted.total()), (200, 2_000));
        counted.look(1_800, start + Duration::from_secs(20));
        assert_eq!((counted.rate(), counted.left()), (None, None));
    }
}
