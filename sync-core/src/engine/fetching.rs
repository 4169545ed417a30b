//! What the fetch scheduler asks of the index and the disk, and what it brings.

use std::time::Duration;

use super::{Config, Engine, Output};
use crate::{
    disk::{Source, WriteTrouble},
    fetch::{FetchOutput, Fetcher},
    index::{Index, IndexResult, ManifestPut},
    manifest::ContentRoot,
    message::{EngineMessage, ObjectMessage},
};

/// Rounds of asking everybody, five seconds apart, after which a content nobody holds is left alone for longer.
const ASKED_ENOUGH: u32 = 4;

pub(super) fn new_fetcher(cfg: &Config) -> Fetcher {
    Fetcher::new(cfg.seed)
}

impl<I: Index> Engine<I> {
    /// Does what the scheduler asks for until it has nothing more.
    pub(super) fn drive_fetch(&mut self) -> IndexResult<()> {
        if !self.active_now() {
            return Ok(());
        }
        while let Some(output) = self.fetcher.poll(self.now.mono) {
            match output {
                FetchOutput::Send(session, request) => {
                    self.send(session, ObjectMessage::Request(request))
                }
                FetchOutput::Cancel(session, requests) => {
                    self.send(session, ObjectMessage::Cancel(requests))
                }
                FetchOutput::NeedPages(pages) => {
                    for hash in pages {
                        let page = self.index.page(&hash)?;
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
                    self.put_manifest(ManifestPut {
                        content,
                        pages,
                        chunks,
                    });
                    self.work.placing.insert(content);
                    self.arrived(content, &Source::Temp(content))?;
                }
                FetchOutput::Failed { content, error, .. } => {
                    self.unfetchable(content, error.to_string())?
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
        to: Option<crate::ids::SessionId>,
        contents: Vec<ContentRoot>,
    ) -> IndexResult<()> {
        let mut contents = contents;
        if to.is_none() {
            let mut given_up = Vec::new();
            for content in &contents {
                let asked = self.work.asked.entry(*content).or_default();
                *asked += 1;
                if *asked > ASKED_ENOUGH {
                    given_up.push(*content);
                }
            }
            contents.retain(|c| !given_up.contains(c));
            for content in given_up {
                let reason = "no member who is connected holds it; it comes when one does";
                self.unfetchable(content, reason.into())?;
                self.fetcher.forget(content);
            }
        }
        let sessions: Vec<_> = match to {
            Some(session) => vec![session],
            None => self.sessions.keys().copied().collect(),
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
        self.work.asked.remove(&content);
        let Some(waiting) = self.work.waiting.remove(&content) else {
            self.work.placing.remove(&content);
            return Ok(());
        };
        let only_first = matches!(source, Source::Temp(_));
        let mut placed = false;
        for path in waiting {
            let Some(active) = self.work.active.remove(&path) else {
                continue;
            };
            let Some(entry) = self.entry(&path)? else {
                continue;
            };
            let current = entry.want.as_ref().and_then(|w| w.record.dot());
            if current != Some(active.record.version.dot) || (only_first && placed) {
                self.work.dirty = true;
                continue;
            }
            placed = true;
            self.place(path, entry, active.record, source.clone())?;
        }
        if !placed {
            self.work.placing.remove(&content);
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
                self.set_disk_full(reason);
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
        for path in self.work.waiting.remove(&content).unwrap_or_default() {
            self.work.active.remove(&path);
        }
        self.work.dirty = true;
    }

    fn unfetchable(&mut self, content: ContentRoot, reason: String) -> IndexResult<()> {
        self.work.asked.remove(&content);
        for path in self.work.waiting.remove(&content).unwrap_or_default() {
            self.work.active.remove(&path);
            self.stick(&path, reason.clone());
        }
        Ok(())
    }

    /// A session came: what it was recorded to hold can be asked of it.
    pub(super) fn holders_changed(&mut self) -> IndexResult<()> {
        for stuck in self.stuck.values_mut().filter(|s| s.wanted) {
            stuck.next = stuck.next.min(self.now.mono + Duration::from_secs(1));
        }
        let active: Vec<_> = self
            .work
            .active
            .iter()
            .filter(|(_, a)| a.action.is_none())
            .map(|(p, _)| p.clone())
            .collect();
        for path in active {
            let Some(entry) = self.entry(&path)? else {
                continue;
            };
            let (Some(want), Some(record)) = (&entry.want, self.open_want(Some(&entry))?) else {
                continue;
            };
            let Some(content) = record.entry.content else {
                continue;
            };
            for (session, peer) in &self.sessions {
                if want.holders.contains(&peer.tag) {
                    self.fetcher.add_holder(content, *session);
                }
            }
        }
        Ok(())
    }
}
