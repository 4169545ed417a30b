//! The status as Prometheus reads it: text exposition format, version 0.0.4.

use std::fmt::Write;

use sync_core::control::{Folder, FolderState, Status};

/// All metrics. Names of folders and devices are labels; no metric counts by file or by address, so
/// that their number stays small.
pub(super) fn render(status: &Status) -> String {
    let mut out = String::new();
    let version = [
        ("version", status.version.as_str()),
        ("device", &status.device.id),
    ];
    head(&mut out, "syncd_info", "gauge", "The running daemon.");
    sample(&mut out, "syncd_info", &version, 1);
    head(
        &mut out,
        "syncd_uptime_seconds",
        "gauge",
        "Seconds since the daemon started.",
    );
    sample(&mut out, "syncd_uptime_seconds", &[], status.uptime_s);
    head(
        &mut out,
        "syncd_traffic_bytes_total",
        "counter",
        "Bytes exchanged with peers.",
    );
    sample(
        &mut out,
        "syncd_traffic_bytes_total",
        &[("direction", "up")],
        status.traffic.up,
    );
    sample(
        &mut out,
        "syncd_traffic_bytes_total",
        &[("direction", "down")],
        status.traffic.down,
    );

    let folders = &status.folders;
    type Value = fn(&Folder) -> u64;
    let plain: [(&str, &str, Value); 10] = [
        ("syncd_folder_connected_peers", "Connected peers.", |f| {
            f.connected.into()
        }),
        (
            "syncd_folder_need_files",
            "Files to fetch or to change.",
            |f| f.need.files,
        ),
        ("syncd_folder_need_bytes", "Bytes to fetch.", |f| {
            f.need.bytes
        }),
        ("syncd_folder_need_deletes", "Deletions to apply.", |f| {
            f.need.deletes
        }),
        ("syncd_folder_errors", "Items that are stuck.", |f| f.errors),
        ("syncd_folder_conflicts", "Conflict copies.", |f| {
            f.conflicts
        }),
        (
            "syncd_folder_local_edits",
            "Local edits in a read-only folder.",
            |f| f.local_edits,
        ),
        (
            "syncd_folder_later",
            "Changes of a newer version that can't be read here.",
            |f| f.later,
        ),
        (
            "syncd_folder_peers_in_sync",
            "Connected peers that are in sync.",
            |f| f.peers.iter().filter(|peer| peer.in_sync).count() as u64,
        ),
        (
            "syncd_folder_held_deletes",
            "Deletions that wait for an answer.",
            |f| f.held.map_or(0, |held| held.deletes),
        ),
    ];
    for (name, help, value) in plain {
        head(&mut out, name, "gauge", help);
        for folder in folders {
            sample(&mut out, name, &[("folder", &folder.name)], value(folder));
        }
    }
    let sided: [(&str, &str, Value, Value); 3] = [
        (
            "syncd_folder_files",
            "Regular files.",
            |f| f.local.files,
            |f| f.global.files,
        ),
        (
            "syncd_folder_dirs",
            "Directories.",
            |f| f.local.dirs,
            |f| f.global.dirs,
        ),
        (
            "syncd_folder_bytes",
            "Bytes in files.",
            |f| f.local.bytes,
            |f| f.global.bytes,
        ),
    ];
    for (name, help, local, global) in sided {
        head(&mut out, name, "gauge", help);
        for folder in folders {
            sample(
                &mut out,
                name,
                &[("folder", &folder.name), ("where", "local")],
                local(folder),
            );
            sample(
                &mut out,
                name,
                &[("folder", &folder.name), ("where", "global")],
                global(folder),
            );
        }
    }
    head(
        &mut out,
        "syncd_folder_state",
        "gauge",
        "1 for the state that the folder is in.",
    );
    for folder in folders {
        for state in FolderState::ALL {
            let labels = [("folder", folder.name.as_str()), ("state", state.as_str())];
            sample(
                &mut out,
                "syncd_folder_state",
                &labels,
                u64::from(folder.state == state),
            );
        }
    }
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String can't fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    out.push_str(name);
    for (index, (key, text)) in labels.iter().enumerate() {
        out.push(if index == 0 { '{' } else { ',' });
        let _ = write!(out, "{key}=\"");
        for c in text.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    if !labels.is_empty() {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}
