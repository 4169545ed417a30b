//! Words for what happens, in traces.

use bytes::Bytes;
use sync_core::{
    engine::Input,
    message::{EngineMessage, Message, Records},
};

pub(super) fn word(input: &Input) -> &'static str {
    match input {
        Input::PeerUp { .. } => "peer-up",
        Input::PeerDown { .. } => "peer-down",
        Input::Message { .. } => "message",
        Input::Objects { .. } => "object",
        Input::Dirty(_) => "dirty",
        Input::DirtyAll => "dirty-all",
        Input::Scanned { .. } => "scanned",
        Input::ScanDone { .. } => "scan-done",
        Input::Applied { .. } => "applied",
        Input::Flushed { .. } => "flushed",
        Input::Reserved { .. } => "reserved",
        Input::TempChecked { .. } => "temp-checked",
        Input::CopiedLocal { .. } => "copied-local",
        Input::Written { .. } => "written",
        Input::RootLost { .. } => "root-lost",
        Input::RootFound => "root-found",
        Input::Tick => "tick",
        _ => "user",
    }
}

pub(super) fn show_input(input: &Input) -> String {
    match input {
        Input::Objects { session, objects } => {
            let each = objects.iter().map(|o| {
                let len = o.object.as_ref().map(Bytes::len);
                format!(" {}/{} {len:?}", o.request, o.index)
            });
            format!("object {session:?}{}", each.collect::<String>())
        }
        Input::Message { session, message } => {
            format!("recv {session:?} {}", show_message(&message.clone().into()))
        }
        Input::Scanned { scan, items } => {
            let items: Vec<_> = items.iter().map(|i| (&i.path, &i.found)).collect();
            format!("scanned {scan} {items:?}")
        }
        other => format!("{other:?}"),
    }
}

pub(super) fn show_message(message: &Message) -> String {
    match message {
        Message::Engine(EngineMessage::Records(records)) => {
            let each = records.changes.iter().flat_map(|announce| {
                let (_, facts) = announce.clone().into_parts();
                facts.map(|f| format!("{}{}", f.seq.0, if f.holds { "+" } else { "" }))
            });
            let stubs = records.stubs.iter().map(|stub| format!("{}?", stub.seq.0));
            let each = each.chain(stubs).collect::<Vec<_>>();
            let Records { after, upto, .. } = records;
            format!("Records {}..{} {each:?}", after.0, upto.0)
        }
        other => format!("{other:?}"),
    }
}
