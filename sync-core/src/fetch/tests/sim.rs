//! Peers, a network and a disk in virtual time.

use super::*;

/// A random number generator for tests.
#[derive(Debug)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 29)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(super) fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

/// How a peer behaves.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) honest: bool,
    pub(super) whole: BTreeSet<ContentRoot>,
    /// Chunks of unfinished files.
    pub(super) parts: BTreeMap<ContentRoot, BTreeSet<u32>>,
    pub(super) latency: Duration,
    /// Bytes per second.
    pub(super) rate: u64,
    /// Chances in percent.
    pub(super) wrong: u64,
    pub(super) missing: u64,
    pub(super) silent: u64,
    pub(super) busy: Duration,
    pub(super) cancelled: BTreeSet<u32>,
}

#[derive(Debug)]
pub(super) enum Event {
    Object(SessionId, u32, usize, Option<Bytes>),
    Page(ContentHash),
    Temp(ContentRoot, u32),
    Local(ContentRoot, Vec<(u32, bool)>),
    Written(ContentRoot, u32, bool),
    Have(SessionId, Have),
    Leave(SessionId),
}

/// The world around one fetcher.
#[derive(Debug)]
pub(super) struct Sim {
    pub(super) fetcher: Fetcher,
    pub(super) rng: Rng,
    pub(super) now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    turn: u64,
    pub(super) peers: BTreeMap<SessionId, Peer>,
    pub(super) objects: BTreeMap<ObjectId, Bytes>,
    pub(super) files: BTreeMap<ContentRoot, Manifest>,
    /// Who ever said to hold what.
    pub(super) claims: BTreeSet<(SessionId, ContentRoot)>,
    object_of: BTreeMap<ObjectId, BTreeSet<ContentRoot>>,
    pub(super) local_pages: BTreeSet<ContentHash>,
    /// Places that are being written, and those that are written.
    writing: BTreeSet<(ContentRoot, u32)>,
    written: BTreeSet<(ContentRoot, u32)>,
    pub(super) done: BTreeSet<ContentRoot>,
    pub(super) dropped: BTreeSet<SessionId>,
    pub(super) trace: blake3::Hasher,
    pub(super) requests: usize,
    pub(super) received: u64,
    pub(super) announced: usize,
}

impl Sim {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            fetcher: Fetcher::new(seed),
            rng: Rng(seed),
            now: Duration::ZERO,
            events: BTreeMap::new(),
            turn: 0,
            peers: BTreeMap::new(),
            objects: BTreeMap::new(),
            files: BTreeMap::new(),
            claims: BTreeSet::new(),
            object_of: BTreeMap::new(),
            local_pages: BTreeSet::new(),
            writing: BTreeSet::new(),
            written: BTreeSet::new(),
            done: BTreeSet::new(),
            dropped: BTreeSet::new(),
            trace: blake3::Hasher::new(),
            requests: 0,
            received: 0,
            announced: 0,
        }
    }

    pub(super) fn add_object(
        &mut self,
        kind: ObjectKind,
        bytes: Bytes,
        hash: ContentHash,
        of: ContentRoot,
    ) {
        let id = ObjectId { kind, hash };
        self.objects.insert(id, bytes);
        self.object_of.entry(id).or_default().insert(of);
    }

    pub(super) fn add_file(&mut self, names: &[u64]) -> ContentRoot {
        let (manifest, chunks) = big(names);
        let root = manifest.root;
        for (hash, bytes) in chunks {
            self.add_object(ObjectKind::Chunk, bytes, hash, root);
        }
        for page in &manifest.pages {
            self.add_object(ObjectKind::Page, page.bytes.clone(), page.hash, root);
        }
        self.files.insert(root, manifest);
        root
    }

    pub(super) fn at(&mut self, after: Duration, event: Event) {
        self.turn += 1;
        self.events.insert((self.now + after, self.turn), event);
    }

    pub(super) fn want(&mut self, root: ContentRoot, holders: &[SessionId]) {
        let size = match self.files.get(&root) {
            Some(manifest) => manifest.size,
            None => {
                let id = ObjectId {
                    kind: ObjectKind::Chunk,
                    hash: root.hash,
                };
                self.objects[&id].len() as u64
            }
        };
        self.claims
            .extend(holders.iter().map(|session| (*session, root)));
        self.fetcher.want(root, size, holders, self.now);
    }

    /// Runs until nothing is wanted, or until then.
    pub(super) fn run(&mut self, until: Duration) {
        for _ in 0..2_000_000 {
            while let Some(output) = self.fetcher.poll(self.now) {
                self.note(&output);
                self.apply(output);
            }
            if self.requests < 400 || self.turn.is_multiple_of(16) {
                check(&self.fetcher);
            }
            if self.fetcher.is_idle() {
                return;
            }
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let timeout = self.fetcher.next_timeout();
            let next = event.into_iter().chain(timeout).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                return;
            };
            self.now = self.now.max(next);
            if event.is_some_and(|at| at <= self.now) {
                if let Some((_, event)) = self.events.pop_first() {
                    self.happen(event);
                }
            } else {
                self.fetcher.handle_timeout(self.now);
                assert!(
                    self.fetcher
                        .next_timeout()
                        .is_none_or(|next| next > self.now)
                );
            }
        }
        panic!("it goes on forever");
    }

    /// Adds an output to the trace.
    fn note(&mut self, output: &FetchOutput) {
        self.trace.update(&self.now.as_nanos().to_be_bytes());
        match output {
            FetchOutput::Temp(TempJob::Write {
                content,
                index,
                hash,
                ..
            }) => {
                self.trace
                    .update(format!("{content:?} {index} {hash:?}").as_bytes());
            }
            FetchOutput::SmallDone { content, .. } | FetchOutput::BigDone { content, .. } => {
                self.trace.update(format!("{content:?} done").as_bytes());
            }
            other => {
                self.trace.update(format!("{other:?}").as_bytes());
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Object(session, id, index, bytes) => {
                let cancelled = self
                    .peers
                    .get(&session)
                    .is_some_and(|p| p.cancelled.contains(&id));
                if !cancelled || id % 2 == 0 {
                    self.received += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
                    self.fetcher.handle_object(session, id, index, bytes, now);
                }
            }
            Event::Page(hash) => {
                let id = ObjectId {
                    kind: ObjectKind::Page,
                    hash,
                };
                let page = self.objects.get(&id).cloned();
                let held = self.local_pages.contains(&hash);
                self.fetcher.supply_page(hash, page.filter(|_| held));
            }
            Event::Temp(root, count) => {
                // What was written in an earlier life of the content is there.
                let have = (0..count)
                    .map(|index| self.written.contains(&(root, index)))
                    .collect();
                self.fetcher.handle_temp_checked(root, have);
            }
            Event::Local(root, results) => {
                let good = results.iter().filter(|(_, good)| *good);
                self.written.extend(good.map(|(index, _)| (root, *index)));
                self.fetcher.handle_local(root, results);
            }
            Event::Written(root, index, good) => {
                assert!(self.writing.remove(&(root, index)));
                self.fetcher.handle_written(root, index, good);
            }
            Event::Have(session, have) => {
                self.claims.insert((session, have.content));
                self.fetcher.handle_have(session, &have);
            }
            Event::Leave(session) => {
                self.peers.remove(&session);
                self.fetcher.remove_peer(session);
            }
        }
    }

    fn apply(&mut self, output: FetchOutput) {
        match output {
            FetchOutput::Send(session, request) => self.serve(session, &request),
            FetchOutput::SendContents(..) => panic!("nothing has a number here"),
            FetchOutput::Complain(session, _) => {
                assert!(
                    !self.peers[&session].honest,
                    "a chunk that was right is complained of"
                );
            }
            FetchOutput::Cancel(session, ids) => {
                if let Some(peer) = self.peers.get_mut(&session) {
                    peer.cancelled.extend(ids);
                }
            }
            FetchOutput::NeedPages(hashes) => {
                hashes
                    .into_iter()
                    .for_each(|hash| self.at(MS, Event::Page(hash)));
            }
            FetchOutput::Temp(TempJob::Check {
                content, chunks, ..
            }) => {
                self.at(MS, Event::Temp(content, chunks.len() as u32));
            }
            FetchOutput::Temp(TempJob::CopyLocal {
                content, chunks, ..
            }) => {
                let results = chunks
                    .iter()
                    .map(|(index, ..)| (*index, self.rng.percent(10)));
                let results = results.collect();
                self.at(2 * MS, Event::Local(content, results));
            }
            FetchOutput::Temp(TempJob::Drop { content }) => panic!("{content:?} is the engine's"),
            FetchOutput::Temp(TempJob::Write {
                content,
                size,
                offset,
                index,
                hash,
                bytes,
            }) => {
                let manifest = &self.files[&content];
                let chunk = manifest.chunks[index as usize];
                let before = manifest.chunks.iter().take(index as usize);
                assert_eq!(
                    offset,
                    before.map(|chunk| u64::from(chunk.len)).sum::<u64>()
                );
                assert_eq!(
                    (size, hash, bytes.len()),
                    (manifest.size, chunk.hash, chunk.len as usize)
                );
                assert!(
                    self.writing.insert((content, index)),
                    "written twice at once"
                );
                assert!(!self.written.contains(&(content, index)), "written again");
                let good = ContentHash::chunk(&bytes) == hash;
                if good {
                    self.written.insert((content, index));
                }
                self.at(MS, Event::Written(content, index, good));
            }
            FetchOutput::SmallDone { content, bytes } => {
                assert_eq!(ContentHash::chunk(&bytes), content.hash);
                assert!(self.done.insert(content));
            }
            FetchOutput::BigDone {
                content,
                size,
                pages,
                chunks,
            } => {
                let manifest = &self.files[&content];
                assert_eq!((size, &manifest.chunks[..]), (manifest.size, &chunks[..]));
                let got: BTreeMap<_, _> = pages.iter().cloned().collect();
                let all = manifest
                    .pages
                    .iter()
                    .map(|page| (page.hash, page.bytes.clone()));
                assert_eq!((got.len(), &got), (pages.len(), &all.collect()));
                let count = chunks.len() as u32;
                assert!((0..count).all(|index| self.written.contains(&(content, index))));
                assert!(self.done.insert(content));
            }
            FetchOutput::Failed { content, error, .. } => panic!("{content:?}: {error}"),
            FetchOutput::WhoHas(session, roots) => {
                let sessions: Vec<_> = self.peers.keys().copied().collect();
                for asked in sessions
                    .into_iter()
                    .filter(|s| session.is_none_or(|one| one == *s))
                {
                    roots
                        .iter()
                        .for_each(|root| self.answer_who_has(asked, *root));
                }
            }
            FetchOutput::Announce(_, have) => {
                assert!(!have.bits.is_empty());
                self.announced += 1;
            }
            FetchOutput::Drop(session) => {
                assert!(self.peers.remove(&session).is_none_or(|peer| !peer.honest));
                self.dropped.insert(session);
            }
        }
    }

    fn answer_who_has(&mut self, session: SessionId, content: ContentRoot) {
        let peer = &self.peers[&session];
        let whole = peer.whole.contains(&content);
        let mut bits = Vec::new();
        if let (Some(held), Some(file)) = (peer.parts.get(&content), self.files.get(&content)) {
            bits = vec![0; file.chunks.len().div_ceil(8)];
            for chunk in held {
                bits[*chunk as usize / 8] |= 0x80 >> (chunk % 8);
            }
        }
        let after = peer.latency;
        let have = Have {
            content,
            whole,
            first: 0,
            bits,
        };
        self.at(after, Event::Have(session, have));
    }

    fn serve(&mut self, session: SessionId, request: &Request) {
        self.requests += 1;
        assert!((1..=256).contains(&request.objects.len()));
        let Some(mut peer) = self.peers.remove(&session) else {
            panic!("{session:?} is gone")
        };
        let silent = self.rng.percent(peer.silent);
        let mut at = peer.busy.max(self.now + peer.latency / 2);
        for (index, object) in request.objects.iter().enumerate() {
            let of = &self.object_of[object];
            let claimed = of
                .iter()
                .any(|root| self.claims.contains(&(session, *root)));
            assert!(claimed, "{session:?} never said to hold {object:?}");
            let holds = of.iter().any(|root| {
                let part =
                    peer.parts
                        .get(root)
                        .zip(self.files.get(root))
                        .is_some_and(|(p, file)| {
                            object.kind == ObjectKind::Page
                                || p.iter()
                                    .any(|at| file.chunks[*at as usize].hash == object.hash)
                        });
                part || peer.whole.contains(root)
            });
            assert!(
                holds || !peer.honest,
                "{object:?} isn't held by {session:?}"
            );
            let mut bytes = self.objects.get(object).cloned();
            if !holds || self.rng.percent(peer.missing) {
                bytes = None;
            } else if self.rng.percent(peer.wrong) {
                let other = self.rng.below(3) as usize;
                bytes = bytes.map(|b| data(self.rng.next(), b.len() + other / 2));
            }
            let len = bytes.as_ref().map_or(4, |bytes| bytes.len() as u64 + 4);
            at += Duration::from_micros(len * 1_000_000 / peer.rate);
            if !silent {
                let after = at + peer.latency / 2 - self.now;
                self.at(after, Event::Object(session, request.id, index, bytes));
            }
        }
        peer.busy = at;
        self.peers.insert(session, peer);
    }
}
