//! Scenarios by hand, with the machinery of the simulator and without its chance.

use std::{collections::BTreeMap, time::Duration};

use sync_core::{engine::Input, index::Index as _};
use sync_store::fs::{Node as DiskNode, NodeKind};

use super::{
    Event, Options, Simulation, Totals,
    faults::Fault,
    net::{Pair, pair},
    node::Node,
    user::Op,
};

impl Simulation {
    /// A cluster in which nothing happens but what is asked for. All links work, nothing has started.
    pub fn scripted(seed: u64, nodes: usize, read_only_last: bool) -> Self {
        let options = Options {
            nodes: Some(nodes),
            read_only: Some(read_only_last),
            scripted: true,
            trace: std::env::var_os("SIM_TRACE").is_some(),
            ..Options::default()
        };
        Self::new(seed, options)
    }

    /// The same, started and at rest.
    pub fn started(seed: u64, nodes: usize, read_only_last: bool) -> Self {
        let mut sim = Self::scripted(seed, nodes, read_only_last);
        sim.start_all();
        sim.settle();
        sim
    }

    /// Starts all nodes that aren't up.
    pub fn start_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.start(node);
        }
    }

    /// Starts one node.
    pub fn start_node(&mut self, node: usize) {
        self.start(node);
    }

    /// Writes a file.
    pub fn write(&mut self, node: usize, path: &str, bytes: &[u8]) {
        self.must(node, &Op::Write(path.into(), bytes.to_vec()));
    }

    /// Deletes a file.
    pub fn delete(&mut self, node: usize, path: &str) {
        self.must(node, &Op::Delete(path.into()));
    }

    /// Moves something.
    pub fn rename(&mut self, node: usize, from: &str, to: &str) {
        self.must(node, &Op::Rename(from.into(), to.into()));
    }

    /// Does something that must be possible.
    pub fn must(&mut self, node: usize, op: &Op) {
        assert!(
            self.act(node, op),
            "{} can't be done on node {node}",
            op.show()
        );
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until(end);
        self.check();
    }

    /// Lets the cluster come to rest, and lets the oracle judge it.
    pub fn settle(&mut self) {
        self.come_to_rest();
        self.check();
    }

    /// Lets it come to rest while some are away or held: nothing is judged.
    pub fn pause(&mut self) {
        self.pass(Duration::from_secs(20));
    }

    /// Nothing has gone wrong so far.
    pub fn check(&self) {
        if let Some(why) = &self.failure {
            panic!("{why}");
        }
    }

    /// Parts one node from all others.
    pub fn isolate(&mut self, node: usize) {
        self.fault(Fault::Part([node].into()));
    }

    /// Repairs all links.
    pub fn join_all(&mut self) {
        let pairs: Vec<Pair> = self.links.keys().copied().collect();
        for pair in pairs {
            self.join(pair);
        }
    }

    /// Cuts the link between two nodes for good.
    pub fn cut(&mut self, a: usize, b: usize) {
        for pair in [pair(a, b, 0), pair(a, b, 1)] {
            if let Some(link) = self.links.get_mut(&pair) {
                link.up = false;
            }
            self.break_link(pair);
        }
    }

    /// Crashes a node, which stays down.
    pub fn crash_node(&mut self, node: usize) {
        self.crash(node, false);
    }

    /// Takes a node's index away while it is down.
    pub fn lose_index(&mut self, node: usize) {
        self.crash(node, false);
        self.nodes[node].home.lose_index();
        self.oracle.index_lost = true;
    }

    /// Lets something go wrong.
    pub fn inject(&mut self, fault: Fault) {
        self.fault(fault);
    }

    /// Lets something go wrong later.
    pub fn inject_after(&mut self, after: Duration, fault: Fault) {
        self.heap.push(self.now + after, Event::Fault(fault));
    }

    /// The user lets held deletions go.
    pub fn approve(&mut self, node: usize) {
        self.tell(node, Input::Approve);
    }

    /// The user wants held deletions undone.
    pub fn reject(&mut self, node: usize) {
        self.tell(node, Input::Reject);
    }

    /// Files whose deletion is held back on a node.
    pub fn held(&self, node: usize) -> u64 {
        self.nodes[node].index().totals().map_or(0, |t| t.held_back)
    }

    /// Local states that a read-only node can't publish.
    pub fn local_edits(&self, node: usize) -> u64 {
        self.nodes[node]
            .index()
            .totals()
            .map_or(0, |t| t.local_edits)
    }

    /// A node's tree.
    pub fn tree(&self, node: usize) -> BTreeMap<Vec<u8>, DiskNode> {
        self.nodes[node].disk.snapshot()
    }

    /// The files of a node, by name.
    pub fn files(&self, node: usize) -> BTreeMap<String, Vec<u8>> {
        let files = self
            .tree(node)
            .into_iter()
            .filter(|(_, n)| n.kind == NodeKind::File);
        files
            .map(|(p, n)| (String::from_utf8_lossy(&p).into_owned(), n.bytes))
            .collect()
    }

    /// What is in a node's archive.
    pub fn archived(&self, node: usize) -> Vec<Vec<u8>> {
        let all = self.nodes[node].disk.snapshot_below(".sync/archive");
        all.into_values()
            .filter(|n| n.kind == NodeKind::File)
            .map(|n| n.bytes)
            .collect()
    }

    /// The conflict copies on a node.
    pub fn copies(&self, node: usize) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.files(node);
        files.retain(|name, _| name.contains(" (conflict "));
        files
    }

    /// Times an index was rebuilt on a node.
    pub fn rebuilds(&self, node: usize) -> u64 {
        self.nodes[node].rebuilds
    }

    /// What happened so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The machines.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
}

/// Bytes that look like nothing else.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    super::rng::Rng::new(seed).bytes(len)
}

/// Ends a scenario: the cluster stays as it is once it is quiet.
///
/// # Panics
///
/// If something isn't as it must be.
pub fn done(mut sim: Simulation) {
    sim.settle();
    assert_eq!(sim.report().failure, None);
}
