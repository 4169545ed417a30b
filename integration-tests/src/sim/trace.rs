//! What happened, as a hash that two runs of one seed must share, and as text for people.

use std::{fmt, time::Duration};

/// Takes notes of a run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    steps: u64,
    print: bool,
}

impl Trace {
    /// Begins; with `print` every line goes to the standard error.
    pub fn new(print: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            steps: 0,
            print,
        }
    }

    /// Notes a step: a node, a word for it, and bytes that tell it from others.
    pub fn step(&mut self, now: Duration, node: usize, word: &str, bytes: &[u8]) {
        self.steps += 1;
        self.eat(&(now.as_nanos() as u64).to_le_bytes());
        self.eat(&[node as u8]);
        self.eat(word.as_bytes());
        self.eat(bytes);
    }

    /// Notes a line for people; it isn't part of the hash and costs nothing unless it is printed.
    pub fn line(&mut self, now: Duration, node: usize, text: impl FnOnce() -> String) {
        if self.print {
            let line = format!("{:>11.6} n{node} {}", now.as_secs_f64(), text());
            eprintln!("{line}");
        }
    }

    fn eat(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash = (self.hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3);
            self.hash ^= self.hash >> 29;
        }
    }

    /// The hash over all steps so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Number of steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether lines are printed.
    pub fn prints(&self) -> bool {
        self.print
    }
}

/// Shows bytes of a path as text.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}
