//! Runs two daemons in this process, on the loopback interface, and lets them sync a file.

use std::{error::Error, fs, net::SocketAddr, path::Path, time::Duration};

use sync_core::{options::Values, secret::Secret};
use sync_discovery::{known_hosts::KNOWN_HOST, lan::LAN};
use syncd::{
    options::{LISTEN, Listen},
    run::{Ready, Start, run},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

fn start(
    dir: &Path,
    secret: &Secret,
    peer: Option<u16>,
    stop: &CancellationToken,
) -> Result<Ready, Box<dyn Error>> {
    let here = Listen {
        addr: Some([127, 0, 0, 1].into()),
        port: 0,
    };
    let other = peer.map(|port| SocketAddr::from(([127, 0, 0, 1], port)).into());
    let options = Values::default()
        .with(&LISTEN, here)
        .with(&KNOWN_HOST, other.into_iter().collect())
        .with(&LAN, false);
    let start = Start {
        home: Some(dir.join("home")),
        options,
        folder: Some(dir.join("folder")),
        secret: Some(secret.clone()),
        foreground: false,
    };
    let (up, ready) = oneshot::channel();
    let stop = stop.clone();
    std::thread::spawn(move || {
        if let Err(error) = run(start, stop, Some(up)) {
            eprintln!("{error}");
        }
    });
    Ok(ready.blocking_recv()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("syncd-example-{}", std::process::id()));
    let mut random = [0; 21];
    getrandom::fill(&mut random)?;
    let (secret, stop) = (Secret::generate(random), CancellationToken::new());
    let one = start(&dir.join("one"), &secret, None, &stop)?;
    println!("one daemon listens on port {}", one.port);
    start(&dir.join("two"), &secret, Some(one.port), &stop)?;
    fs::write(dir.join("one/folder/hello.txt"), "hello from one\n")?;
    let there = dir.join("two/folder/hello.txt");
    while !there.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    print!("the other one has it: {}", fs::read_to_string(there)?);
    stop.cancel();
    // Both daemons are in this process, and end with their goodbyes.
    std::thread::sleep(Duration::from_secs(1));
    fs::remove_dir_all(dir)?;
    Ok(())
}
