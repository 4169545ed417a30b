//! When a part of the daemon that went down is started again: the decision alone, without actors or clocks.
//!
//! The supervisor asks [`History::down`] and does what it says. Time is an argument, so that hours of
//! failures are tested in a moment. Nothing here may start, stop or wait for anything.

use std::{collections::VecDeque, time::Duration};

/// Which ends of a part are followed by a new start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// All but the one that was asked for.
    Permanent,
    /// Those by an error or a panic; a part that says it is done stays down.
    Transient,
    /// None.
    Never,
}

/// What happens to a part that fails again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// It is given up and shown as failed: the rest of the daemon works without it.
    GiveUp,
    /// It is shown as failed and goes on being tried, at the longest pause: the daemon is of little
    /// use without it, and what hinders it may pass (a full disk, a lost interface).
    KeepTrying,
}

/// How a part is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Which ends are followed by a start.
    pub restart: Restart,
    /// The pause after the first failure; it doubles with each further one.
    pub first_pause: Duration,
    /// The longest pause. A part that ran for so long has its failures forgiven.
    pub longest_pause: Duration,
    /// So many failures within [`Policy::window`] are too many.
    pub max_failures: u32,
    /// See [`Policy::max_failures`].
    pub window: Duration,
    /// What happens then.
    pub patience: Patience,
}

impl Policy {
    /// For what the daemon can do without, such as a discovery mechanism.
    #[must_use]
    pub const fn optional() -> Self {
        Self {
            patience: Patience::GiveUp,
            ..Self::vital()
        }
    }

    /// For what must come back: folders, the listener, the control server.
    #[must_use]
    pub const fn vital() -> Self {
        Self {
            restart: Restart::Permanent,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(60),
            max_failures: 8,
            window: Duration::from_secs(600),
            patience: Patience::KeepTrying,
        }
    }
}

/// How a part ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// It was told to stop, or had nothing more to do.
    Done,
    /// It can't go on, for a reason that people can read.
    Failed(String),
    /// It ended without a word: a panic.
    Died,
}

impl Down {
    /// The reason as people read it.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Done => "it ended by itself",
            Self::Failed(reason) => reason,
            Self::Died => "it broke off because of an error in the program; the log says where",
        }
    }
}

/// What the supervisor shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it is meant to be down.
    Leave,
    /// Start it again after this pause. `failing`: it failed too often and is to be shown as failed.
    StartAfter {
        /// How long to wait.
        pause: Duration,
        /// Whether it failed too often.
        failing: bool,
    },
    /// Leave it down and show it as failed.
    GiveUp,
}

/// The failures of one part.
#[derive(Debug, Clone, Default)]
pub struct History {
    started: Duration,
    streak: u32,
    failures: VecDeque<Duration>,
}

impl History {
    /// It was started now.
    pub fn started(&mut self, now: Duration) {
        self.started = now;
    }

    /// It went down now, without having been told to.
    pub fn down(&mut self, policy: &Policy, down: &Down, now: Duration) -> Decision {
        match (policy.restart, down) {
            (Restart::Never, _) | (Restart::Transient, Down::Done) => return Decision::Leave,
            _ => {}
        }
        if now.saturating_sub(self.started) >= policy.longest_pause {
            self.streak = 0;
        }
        self.streak = self.streak.saturating_add(1);
        self.failures.push_back(now);
        while self
            .failures
            .front()
            .is_some_and(|at| *at + policy.window < now)
            || self.failures.len() > policy.max_failures as usize
        {
            self.failures.pop_front();
        }
        let failing = self.failures.len() >= policy.max_failures as usize;
        if failing && policy.patience == Patience::GiveUp {
            return Decision::GiveUp;
        }
        let doubled = policy
            .first_pause
            .saturating_mul(1 << (self.streak - 1).min(20));
        let pause = if failing {
            policy.longest_pause
        } else {
            doubled.min(policy.longest_pause)
        };
        Decision::StartAfter { pause, failing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    /// Lets a part fail `run` after each start, and returns the decisions.
    fn fail(policy: &Policy, run: Duration, times: usize) -> Vec<Decision> {
        let (mut history, mut now) = (History::default(), Duration::ZERO);
        let mut decisions = Vec::new();
        for _ in 0..times {
            history.started(now);
            now += run;
            let decision = history.down(policy, &Down::Died, now);
            if let Decision::StartAfter { pause, .. } = decision {
                now += pause;
            }
            decisions.push(decision);
        }
        decisions
    }

    fn pauses(decisions: &[Decision]) -> Vec<u128> {
        let pause = |d: &Decision| match d {
            Decision::StartAfter { pause, .. } => pause.as_millis(),
            _ => 0,
        };
        decisions.iter().map(pause).collect()
    }

    #[test]
    fn pauses_double_and_an_optional_part_is_given_up() {
        let decisions = fail(&Policy::optional(), Duration::ZERO, 8);
        assert_eq!(
            pauses(&decisions),
            [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 0]
        );
        assert_eq!(decisions[7], Decision::GiveUp);
    }

    #[test]
    fn a_vital_part_is_tried_for_ever_and_shown_as_failed() {
        let decisions = fail(&Policy::vital(), Duration::ZERO, 100);
        assert!(matches!(
            decisions[6],
            Decision::StartAfter { failing: false, .. }
        ));
        for decision in &decisions[7..] {
            let slow = Policy::vital().longest_pause;
            assert_eq!(
                *decision,
                Decision::StartAfter {
                    pause: slow,
                    failing: true
                }
            );
        }
    }

    #[test]
    fn a_part_that_ran_well_for_a_while_is_forgiven() {
        let decisions = fail(&Policy::optional(), 61 * SEC, 3);
        assert_eq!(pauses(&decisions), [200, 200, 200]);
        // Rare failures never add up.
        let decisions = fail(&Policy::optional(), 120 * SEC, 50);
        assert!(
            decisions
                .iter()
                .all(|d| matches!(d, Decision::StartAfter { failing: false, .. }))
        );
        // Many within the window do, even with good minutes between them.
        assert!(fail(&Policy::optional(), 61 * SEC, 50).contains(&Decision::GiveUp));
    }

    #[test]
    fn an_end_in_good_order_counts_as_the_policy_says() {
        let mut history = History::default();
        let transient = Policy {
            restart: Restart::Transient,
            ..Policy::vital()
        };
        let never = Policy {
            restart: Restart::Never,
            ..Policy::vital()
        };
        assert_eq!(history.down(&transient, &Down::Done, SEC), Decision::Leave);
        assert!(matches!(
            history.down(&transient, &Down::Died, SEC),
            Decision::StartAfter { .. }
        ));
        assert_eq!(
            history.down(&never, &Down::Failed("x".into()), SEC),
            Decision::Leave
        );
        assert!(matches!(
            history.down(&Policy::vital(), &Down::Done, SEC),
            Decision::StartAfter { .. }
        ));
    }
}
