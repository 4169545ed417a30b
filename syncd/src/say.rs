//! What `syncd run --folder` says to the person who typed it.

use std::io::{self, IsTerminal, Write};

use sync_core::control::{Folder, FolderRef, SecretText};

use crate::wiring::Wires;

/// How this device can be found, in one line.
pub(crate) async fn how_found(wires: &Wires, folder: &Folder) -> String {
    let mut ways = Vec::new();
    if let Ok((tag, _)) = wires.find(&FolderRef::Name(folder.name.clone())) {
        let found = wires.discovery.of_folder(tag).await;
        ways.extend(found.into_iter().filter_map(|(_, status)| status.how_found));
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
