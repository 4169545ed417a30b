//! From an index of format 1 to one of today.
//!
//! Everything but entries and the newest records has the same form; it is copied as it stands. Entries are taken in
//! the order of their changes, so that records which are told together are signed together.

use std::collections::BTreeMap;

use sync_core::{
    former::{self, FormerEntry},
    index::{BatchEdits, IndexError, IndexResult},
    keys::FolderKeys,
    record::RecordError,
};

use super::{
    CHANGES, ENTRIES, VALUE_FORMAT, batch_key, db::Db, db::Stage, decode, encode, key, rewrite,
};

/// Entries in one step.
const STEP: usize = 512;

/// Fills the fresh `to` with what `from`, of format 1, says; all but the format. Returns how many entries there are.
pub(super) fn convert(from: &Db, to: &Db, keys: &FolderKeys) -> IndexResult<u64> {
    let newest = [&[key::FACTS], former::NEWEST].concat();
    rewrite::copy(from, to, |(name, _)| {
        Ok(!(name.starts_with(&[key::ENTRIES])
            || name.starts_with(&key::FORMAT)
            || name.starts_with(&newest)))
    })?;
    let mut stage = Stage::default();
    from.walk(&newest, |(name, value)| {
        let value = match &*value {
            [VALUE_FORMAT, value @ ..] => former::convert_newest(keys, value),
            _ => Err(RecordError::Malformed),
        };
        let value = [&[VALUE_FORMAT], &value.map_err(wrong)?[..]].concat();
        stage.put(name.to_vec(), value);
        Ok(())
    })?;
    to.apply(stage)?;

    let (mut after, mut converted) = (Vec::new(), 0);
    loop {
        let mut changes = Vec::new();
        CHANGES.packed().walk(from, &after, false, |number, path| {
            changes.push((number.to_vec(), path.to_vec()));
            Ok(changes.len() < STEP)
        })?;
        let Some((last, _)) = changes.last() else {
            break;
        };
        after.clone_from(last);
        let mut found = Vec::with_capacity(changes.len());
        for (_, path) in changes {
            let value = ENTRIES.packed().value(from, &path)?;
            let value = value.ok_or_else(|| from.corrupt("a change has no entry"))?;
            found.push((path, decode(from, &value)?));
        }
        converted += put(to, keys, found)?;
    }
    // What was never told has no number.
    let (mut after, mut more): (Option<Vec<u8>>, bool) = (None, true);
    while more {
        let mut found: Vec<(Vec<u8>, FormerEntry)> = Vec::new();
        more = false;
        let from_key = after.take().unwrap_or_default();
        ENTRIES
            .packed()
            .walk(from, &from_key, from_key.is_empty(), |path, value| {
                let entry: FormerEntry = decode(from, value)?;
                if entry.seq == 0 {
                    found.push((path.to_vec(), entry));
                }
                more = found.len() == STEP;
                if more {
                    after = Some(path.to_vec());
                }
                Ok(!more)
            })?;
        converted += put(to, keys, found)?;
    }
    Ok(converted)
}

fn put(to: &Db, keys: &FolderKeys, found: Vec<(Vec<u8>, FormerEntry)>) -> IndexResult<u64> {
    let (paths, entries): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let (entries, proofs) = former::convert(keys, entries).map_err(wrong)?;
    let mut edits = BatchEdits::default();
    entries.iter().for_each(|new| edits.take(None, Some(new)));
    let mut stage = Stage::default();
    for (id, row) in edits.rows(proofs, |_| Ok(None))? {
        match row {
            Some(row) => stage.put(batch_key(&id), encode(&row)),
            None => stage.remove(batch_key(&id)),
        }
    }
    let values = entries.iter().map(|entry| Some(encode(entry)));
    let values: BTreeMap<_, _> = paths.into_iter().zip(values).collect();
    ENTRIES
        .packed()
        .change(to, &mut stage, values, |_| Ok(()))?;
    to.apply(stage)?;
    Ok(entries.len() as u64)
}

fn wrong(error: RecordError) -> IndexError {
    match error {
        RecordError::CannotSign | RecordError::Level => IndexError::Unavailable(error.to_string()),
        error => IndexError::Corrupt(error.to_string()),
    }
}
