//! Which of two connections to one peer is kept.
//!
//! Both sides may dial at the same time and both connections come up. These
//! are pure rules; they own nothing. Both sides must end with the same
//! connection, whatever order they see things in, and never with none. That
//! holds because only one side, the one with the lower static key, ever closes
//! a living connection; the other keeps both until it is told.

use crate::paths::PathClass;

/// What counts about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conn {
    /// Its path.
    pub path: PathClass,
    /// Whether we dialled it.
    pub dialled_by_us: bool,
    /// The boot nonce in the peer's greeting on it.
    pub boot_nonce: u64,
    /// Whether a ping on it has been waiting for longer than it should. The
    /// caller decides; `false` for a new connection.
    pub suspect: bool,
}

/// Which one is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The one that was there.
    Existing,
    /// The one that has just come up.
    New,
}

/// Which connection is kept, and whether we are the one to close the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The one to use from now on.
    pub keep: Keep,
    /// Close the other one now. If not, keep it open until the peer closes it.
    pub close_other: bool,
}

/// Which of two connections is better, seen from either side.
///
/// 1. A new boot nonce: the peer has restarted, the old connection is dead.
/// 2. A connection that doesn't answer gives way to one that has just come up.
/// 3. The better path.
/// 4. The one dialled by the lower key.
/// 5. The new one: whoever dialled again had a reason.
#[must_use]
pub fn choose(ours: &[u8; 32], theirs: &[u8; 32], existing: &Conn, new: &Conn) -> Keep {
    if existing.boot_nonce != new.boot_nonce || existing.suspect {
        return Keep::New;
    }
    let we_are_lower = ours < theirs;
    let rank = |conn: &Conn| (conn.path, conn.dialled_by_us == we_are_lower);
    if rank(existing) > rank(new) {
        Keep::Existing
    } else {
        Keep::New
    }
}

/// [`choose`], and what to do about the other connection.
#[must_use]
pub fn judge(ours: &[u8; 32], theirs: &[u8; 32], existing: &Conn, new: &Conn) -> Verdict {
    let keep = choose(ours, theirs, existing, new);
    let dead = existing.boot_nonce != new.boot_nonce;
    Verdict {
        keep,
        close_other: dead || ours < theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: [u8; 32] = [1; 32];
    const HIGH: [u8; 32] = [2; 32];

    /// One side of the model: the connections that it has, in the order in
    /// which they came up there, and the one it uses.
    struct Side {
        key: [u8; 32],
        peer: [u8; 32],
        used: Option<(usize, Conn)>,
        open: Vec<usize>,
    }

    impl Side {
        fn up(&mut self, id: usize, conn: Conn) -> Option<usize> {
            self.open.push(id);
            let Some((old_id, old)) = self.used else {
                self.used = Some((id, conn));
                return None;
            };
            let verdict = judge(&self.key, &self.peer, &old, &conn);
            let (kept, other) = match verdict.keep {
                Keep::Existing => ((old_id, old), id),
                Keep::New => ((id, conn), old_id),
            };
            self.used = Some(kept);
            verdict.close_other.then_some(other)
        }

        fn down(&mut self, id: usize, conns: &[Conn]) {
            self.open.retain(|open| *open != id);
            if self.used.is_some_and(|(used, _)| used == id) {
                let seen = |id: usize| {
                    let lower = self.key == LOW;
                    Conn {
                        dialled_by_us: conns[id].dialled_by_us == lower,
                        ..conns[id]
                    }
                };
                self.used = self.open.last().map(|id| (*id, seen(*id)));
            }
        }
    }

    /// Runs two connections, given as the lower key sees them, through all
    /// orders in which the sides can see them come up and go down.
    fn end_of(conns: [Conn; 2]) -> Vec<usize> {
        let mut ends = Vec::new();
        // Each step: a side sees a connection come up. A closure arrives at
        // the other side at any later moment, here at once or at the end.
        for low_first in [0, 1] {
            for high_first in [0, 1] {
                for interleaving in 0..6_usize {
                    for late in [false, true] {
                        let steps = [
                            [0, 0, 1, 1],
                            [0, 1, 0, 1],
                            [0, 1, 1, 0],
                            [1, 1, 0, 0],
                            [1, 0, 1, 0],
                            [1, 0, 0, 1],
                        ][interleaving];
                        let mut sides = [
                            Side {
                                key: LOW,
                                peer: HIGH,
                                used: None,
                                open: vec![],
                            },
                            Side {
                                key: HIGH,
                                peer: LOW,
                                used: None,
                                open: vec![],
                            },
                        ];
                        let mut next = [low_first, high_first];
                        let mut seen = [0, 0];
                        let mut closed = Vec::new();
                        for side in steps {
                            if seen[side] == 2 {
                                continue;
                            }
                            seen[side] += 1;
                            let id = next[side];
                            next[side] = 1 - id;
                            let mut conn = conns[id];
                            conn.dialled_by_us ^= side == 1;
                            if let Some(other) = sides[side].up(id, conn) {
                                assert_eq!(side, 0, "only the lower key closes");
                                sides[side].down(other, &conns);
                                closed.push(other);
                            }
                            if !late {
                                for id in &closed {
                                    if sides[1].open.contains(id) {
                                        sides[1].down(*id, &conns);
                                    }
                                }
                            }
                        }
                        for id in closed {
                            sides[1].down(id, &conns);
                        }
                        assert_eq!(sides[0].open.len(), 1, "exactly one is left");
                        assert_eq!(sides[0].open, sides[1].open);
                        assert_eq!(
                            sides[0].used.map(|(id, _)| id),
                            sides[1].used.map(|(id, _)| id)
                        );
                        ends.push(sides[0].open[0]);
                    }
                }
            }
        }
        ends
    }

    #[test]
    fn both_sides_end_with_the_same_connection_in_every_order() {
        let paths = [PathClass::Relay, PathClass::Direct, PathClass::Lan];
        for first in paths {
            for second in paths {
                for (a, b) in [(true, false), (false, true), (true, true), (false, false)] {
                    let conn = |path, dialled_by_us| Conn {
                        path,
                        dialled_by_us,
                        boot_nonce: 1,
                        suspect: false,
                    };
                    let ends = end_of([conn(first, a), conn(second, b)]);
                    if first != second {
                        let better = usize::from(second > first);
                        assert!(ends.iter().all(|end| *end == better));
                    } else if a != b {
                        let lower = usize::from(b);
                        assert!(ends.iter().all(|end| *end == lower));
                    }
                }
            }
        }
    }

    #[test]
    fn a_restarted_peer_replaces_its_old_session_even_on_a_worse_path() {
        let old = Conn {
            path: PathClass::Lan,
            dialled_by_us: true,
            boot_nonce: 1,
            suspect: false,
        };
        let new = Conn {
            path: PathClass::Relay,
            dialled_by_us: false,
            boot_nonce: 2,
            ..old
        };
        for (ours, theirs) in [(LOW, HIGH), (HIGH, LOW)] {
            let verdict = judge(&ours, &theirs, &old, &new);
            assert_eq!(
                verdict,
                Verdict {
                    keep: Keep::New,
                    close_other: true
                }
            );
        }
    }

    #[test]
    fn a_connection_that_does_not_answer_gives_way() {
        let old = Conn {
            path: PathClass::Lan,
            dialled_by_us: true,
            boot_nonce: 1,
            suspect: true,
        };
        let new = Conn {
            dialled_by_us: false,
            suspect: false,
            ..old
        };
        assert_eq!(choose(&LOW, &HIGH, &old, &new), Keep::New);
        let alive = Conn {
            suspect: false,
            ..old
        };
        assert_eq!(choose(&LOW, &HIGH, &alive, &new), Keep::Existing);
    }
}
