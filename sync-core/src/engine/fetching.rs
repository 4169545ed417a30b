//! What the fetch scheduler asks of the index and the disk, and what it brings.

use std::time::Duration;

use super::{Engine, Output, peers::Peer};
use crate::{
    disk::{Source, WriteTrouble},
    fetch::FetchOutput,
    held::Held,
    ids::{Seq, SessionId},
    index::{Index, IndexResult, ManifestPut},
    manifest::ContentRoot,
    message::{EngineMessage, ObjectMessage},
    trouble::Trouble,
};

/// Rounds of asking everybody, five seconds apart, after which a content nobody holds is left alone for longer.
const ASKED_ENOUGH: u32 = 4;

impl<I: Index> Engine<I> {
    /// Does what the scheduler asks for until it has nothing more.
    pub(super) fn drive_fetch(&mut self) -> IndexResult<()> {
        while let Some(session) = self.fetcher.drained() {
            self.out.push_back(Output::Drained { session });
        }
        if !self.notes.active() {
            return Ok(());
        }
        while let Some(output) = self.fetcher.poll(self.now.mono) {
            match output {
                FetchOutput::Send(session, request) => {
                    self.send(session, ObjectMessage::Request(request))
                }
                FetchOutput::SendContents(session, contents) => {
                    self.send(session, ObjectMessage::Contents(contents))
                }
                FetchOutput::Complain(session, complaint) => {
                    self.send(session, ObjectMessage::BadChunk(complaint))
                }
                FetchOutput::Cancel(session, requests) => {
                    self.send(session, ObjectMessage::Cancel(requests))
                }
                FetchOutput::NeedPages(pages) => {
                    for hash in pages {
                        let page = self.ledger.index().page(&hash)?;
                        self.fetcher.supply_page(hash, page);
                    }
                }
                FetchOutput::Temp(job) => self.out.push_back(Output::Temp(job)),
                FetchOutput::SmallDone { content, bytes } => {
                    self.arrived(content, &Source::Bytes(bytes))?
                }
                FetchOutput::BigDone {
                    content,
                    pages,
                    chunks,
                    ..
                } => {
                    let chunks = chunks.to_vec();
                    self.ledger.put_manifest(ManifestPut {
                        content,
                        pages,
                        chunks,
                    });
                    self.planner.place(content);
                    self.arrived(content, &Source::Temp(content))?;
                }
                FetchOutput::Failed { content, error, .. } => {
                    self.unfetchable(content, Trouble::Content(error.to_string()))?
                }
                FetchOutput::WhoHas(to, contents) => self.ask_who_has(to, contents)?,
                FetchOutput::Announce(session, have) => {
                    self.send(session, EngineMessage::Have(vec![have]))
                }
                FetchOutput::Drop(session) => {
                    let reason = "it sent wrong bytes three times".into();
                    self.out.push_back(Output::Ban { session, reason });
                }
            }
        }
        Ok(())
    }

    fn ask_who_has(
        &mut self,
        to: Option<SessionId>,
        contents: Vec<ContentRoot>,
    ) -> IndexResult<()> {
        let mut contents = contents;
        if to.is_none() {
            let mut given_up = Vec::new();
            for content in &contents {
                if self.planner.asked(*content) > ASKED_ENOUGH {
                    given_up.push(*content);
                }
            }
            contents.retain(|c| !given_up.contains(c));
            for content in given_up {
                self.unfetchable(content, Trouble::NobodyHolds)?;
                self.fetcher.forget(content);
            }
        }
        let sessions: Vec<_> = match to {
            Some(session) => vec![session],
            None => self.peers.streams(),
        };
        for session in sessions {
            for part in contents.chunks(crate::message::MAX_CONTENTS) {
                self.send(session, EngineMessage::WhoHas(part.to_vec()));
            }
        }
        Ok(())
    }

    /// A content is here: all files that wait for it can be placed. A temporary serves the first; the
    /// others copy from it once it stands.
    fn arrived(&mut self, content: ContentRoot, source: &Source) -> IndexResult<()> {
        let only_first = matches!(source, Source::Temp(_));
        let mut placed = false;
        for (path, record) in self.planner.end_wait(content) {
            let Some(entry) = self.ledger.entry(&path)? else {
                continue;
            };
            let current = entry.want.as_ref().and_then(|w| w.record.dot());
            if current != Some(record.version.dot) || (only_first && placed) {
                self.planner.walk_again();
                continue;
            }
            placed = true;
            self.place(path, entry, record, source.clone())?;
        }
        if !placed {
            self.planner.not_placed(&content);
        }
        Ok(())
    }

    /// A chunk was written, or it wasn't. The peer that sent it can't help it if the disk is in trouble.
    pub(super) fn written(
        &mut self,
        content: ContentRoot,
        index: u32,
        ok: bool,
        trouble: Option<WriteTrouble>,
    ) -> IndexResult<()> {
        match trouble {
            None => self.fetcher.handle_written(content, index, ok),
            // The content is wanted again when there is room.
            Some(WriteTrouble::Full(reason)) => {
                self.notes.set_disk_full(reason, self.now.mono);
                self.put_off(content);
            }
            Some(WriteTrouble::Failed(reason)) => {
                self.fetcher.forget(content);
                self.unfetchable(content, reason)?;
            }
        }
        Ok(())
    }

    /// Gives up fetching a content for now; whoever waits for it is planned anew.
    pub(super) fn put_off(&mut self, content: ContentRoot) {
        self.fetcher.forget(content);
        self.planner.end_wait(content);
        self.planner.walk_again();
    }

    fn unfetchable(&mut self, content: ContentRoot, reason: Trouble) -> IndexResult<()> {
        for (path, _) in self.planner.end_wait(content) {
            self.stick(&path, reason.clone());
        }
        Ok(())
    }

    /// A peer said that it holds what it was known to lack: what waits may be asked of it.
    pub(super) fn holders_said(&mut self, session: SessionId, holds: &Held) {
        let Some(stream) = self.peers.of(session).map(Peer::stream) else {
            return;
        };
        let waiting = self.planner.waiting_records();
        let found = waiting.filter_map(|record| {
            let number = holds.number(record.version.dot)?;
            Some((record.entry.content?, number))
        });
        for (content, number) in found.collect::<Vec<_>>() {
            self.fetcher.add_holder(content, stream);
            self.fetcher.name_at(content, stream, number);
        }
        self.notes.hurry(self.now.mono + Duration::from_secs(1));
    }

    /// These sessions may be asked for a content by their numbers for a change that has it.
    pub(super) fn name_at(
        &mut self,
        content: ContentRoot,
        holders: impl IntoIterator<Item = (SessionId, Option<Seq>)>,
    ) {
        for (session, number) in holders {
            if let Some(number) = number {
                self.fetcher.name_at(content, session, number);
            }
        }
    }

    /// A session came: what it was recorded to hold can be asked of it.
    pub(super) fn holders_changed(&mut self) -> IndexResult<()> {
        self.notes.hurry(self.now.mono + Duration::from_secs(1));
        for path in self.planner.waiting_paths() {
            let Some(entry) = self.ledger.entry(&path)? else {
                continue;
            };
            let (Some(want), Some(record)) = (&entry.want, self.ledger.open_want(Some(&entry))?)
            else {
                continue;
            };
            let Some(content) = record.entry.content else {
                continue;
            };
            let holders = self.peers.holders(&want.holders, record.version.dot);
            for (session, _) in &holders {
                self.fetcher.add_holder(content, *session);
            }
            self.name_at(content, holders);
        }
        Ok(())
    }
}
