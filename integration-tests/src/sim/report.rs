//! What a run is asked for, and what it tells at its end.

/// How a run differs from the usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Print every step.
    pub trace: bool,
    /// Real sessions; else every eighth seed has them.
    pub real_sessions: Option<bool>,
    /// How many nodes.
    pub nodes: Option<usize>,
    /// Whether the last node is read-only.
    pub read_only: Option<bool>,
    /// How many operations people do at most, to shorten a failing run.
    pub max_ops: Option<usize>,
    /// How many faults happen at most.
    pub max_faults: Option<usize>,
    /// No chance of its own: only what a script does.
    pub scripted: bool,
}

/// What happened in a run, or in many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Totals {
    pub seeds: u64,
    pub steps: u64,
    pub ops: u64,
    pub races: u64,
    pub faults: u64,
    pub crashes: u64,
    pub crashes_in_apply: u64,
    pub crashes_in_start: u64,
    /// Folders that gave up because something failed, and were opened anew.
    pub ended: u64,
    pub resets: u64,
    pub partitions: u64,
    pub rebuilds: u64,
    pub conflicts: u64,
    pub edit_delete_races: u64,
    pub held: u64,
    pub messages: u64,
    pub wire_bytes: u64,
    pub chunk_bytes: u64,
    pub bad_chunks: u64,
    pub virtual_s: u64,
    pub slowest_rest_s: u64,
    pub real_sessions: u64,
    /// Connections that were made while there was one between the same two.
    pub twins: u64,
    /// Links that carried nothing for a while.
    pub stalls: u64,
    /// Peers found silent.
    pub silences: u64,
    /// What peers told each other of several sessions.
    pub words: u64,
    /// Peers that were refused for an hour.
    pub bans: u64,
}

impl Totals {
    /// Takes the totals of another run in.
    pub fn add(&mut self, o: &Self) {
        self.seeds += o.seeds;
        self.steps += o.steps;
        self.ops += o.ops;
        self.races += o.races;
        self.faults += o.faults;
        self.crashes += o.crashes;
        self.crashes_in_apply += o.crashes_in_apply;
        self.crashes_in_start += o.crashes_in_start;
        self.ended += o.ended;
        self.resets += o.resets;
        self.partitions += o.partitions;
        self.rebuilds += o.rebuilds;
        self.conflicts += o.conflicts;
        self.edit_delete_races += o.edit_delete_races;
        self.held += o.held;
        self.messages += o.messages;
        self.wire_bytes += o.wire_bytes;
        self.chunk_bytes += o.chunk_bytes;
        self.bad_chunks += o.bad_chunks;
        self.virtual_s += o.virtual_s;
        self.slowest_rest_s = self.slowest_rest_s.max(o.slowest_rest_s);
        self.real_sessions += o.real_sessions;
        self.twins += o.twins;
        self.stalls += o.stalls;
        self.silences += o.silences;
        self.words += o.words;
        self.bans += o.bans;
    }
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub seed: u64,
    /// Hash over all steps.
    pub trace_hash: u64,
    /// What happened.
    pub totals: Totals,
    /// What went wrong, if anything did.
    pub failure: Option<String>,
}
