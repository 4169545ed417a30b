//! What `syncd run --folder` says to the person who typed it.

use std::io::{self, IsTerminal, Write};

use sync_core::control::{Folder, SecretText};
use sync_discovery::actor::LanStatusQuery;

use crate::wiring::Wires;

/// How this device can be found, in one line.
pub(crate) async fn how_found(wires: &Wires, folder: &Folder) -> String {
    let settings = wires.settings();
    let mut ways = Vec::new();
    if settings.lan && folder.settings.lan {
        let status = match wires.lan.addr() {
            Some(lan) => lan.send(LanStatusQuery).await.ok(),
            None => None,
        };
        match status.map(|s| s.interfaces).filter(|i| !i.is_empty()) {
            Some(interfaces) => ways.push(format!(
                "by beacons on the local network ({}, UDP port {})",
                interfaces.join(", "),
                settings.lan_port
            )),
            None => ways.push("by beacons on the local network, once there is one".to_owned()),
        }
    }
    let mut hosts = folder.known_hosts.clone();
    hosts.extend(settings.known_hosts);
    if !hosts.is_empty() {
        hosts.sort();
        hosts.dedup();
        ways.push(format!("by asking {}", hosts.join(", ")));
    }
    let port = wires.port.load(std::sync::atomic::Ordering::Relaxed);
    ways.push(format!(
        "by devices that know its address (TCP port {port}, `--known-host HOST:{port}` there)"
    ));
    format!("`{}` can be found {}.", folder.name, ways.join("; "))
}

/// Prints what there is to say of the folder. The secret goes to a terminal only, alone on the first line.
pub(crate) fn print(folder: &Folder, secret: Option<&SecretText>, found: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let terminal = out.is_terminal();
    if let Some(secret) = secret.filter(|_| terminal) {
        writeln!(out, "{}", secret.reveal())?;
        writeln!(out)?;
        writeln!(
            out,
            "Above is the secret of `{}` ({}, {}).",
            folder.name, folder.path, folder.level
        )?;
        writeln!(
            out,
            "Whoever has it can read the folder{}.",
            if folder.level.can_write() {
                " and change it"
            } else {
                ""
            }
        )?;
        writeln!(
            out,
            "On the next machine type this line, and the secret when it asks:"
        )?;
        writeln!(out)?;
        writeln!(out, "    syncd run --folder ~/Sync --secret -")?;
        writeln!(out)?;
    } else {
        writeln!(
            out,
            "Folder `{}` ({}, {}).",
            folder.name, folder.path, folder.level
        )?;
        writeln!(
            out,
            "`syncctl secret show '{}'` shows its secret.",
            folder.name
        )?;
    }
    writeln!(out, "{found}")?;
    out.flush()
}
