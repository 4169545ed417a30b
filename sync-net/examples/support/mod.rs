//! What both examples need: two devices that share a folder.

use std::sync::Arc;

use sync_core::keys::FolderKeys;
use sync_core::secret::Secret;
use sync_net::session::Established;
use sync_net::stream::{Clock, Connected, accept_session, establish};
use sync_net::tcp::{Bind, bind, dial, route_to, tune};
use sync_net::{Config, Gate, Hello, Member, SharedFolder};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A folder as the device with this secret has it. Real secrets are random.
pub(crate) fn folder(secret: &Secret, device: u8) -> SharedFolder {
    Arc::new(Member::new(FolderKeys::derive(secret), &[device; 32]))
}

/// Two sessions that talk over TCP on the loopback interface.
pub(crate) async fn pair() -> Result<(Connected, Connected), Failure> {
    let secret = Secret::generate([42; 21]);
    let clock = Clock::start();
    let listener = bind(&Bind::Addresses(vec![[127, 0, 0, 1].into()]), 0)?.remove(0);
    let addr = listener.local_addr()?;
    let gate = Arc::new(Gate::new(vec![folder(&secret, 2)])?);
    let accepting = async {
        let (stream, remote) = listener.accept().await?;
        tune(&stream);
        let hello = Hello::new("the one that listens", 2, addr.port());
        let session = accept_session(&gate, hello, Config::default(), clock)?;
        Ok::<_, Failure>(establish(session, Box::new(stream), route_to(remote), clock).await?)
    };
    let dialling = async {
        let hello = Hello::new("the one that dials", 1, 0);
        Ok(dial(addr, folder(&secret, 1), hello, Config::default(), clock).await?)
    };
    tokio::try_join!(dialling, accepting)
}

/// One line about a session.
#[allow(dead_code)]
pub(crate) fn describe(about: &Established) -> String {
    format!(
        "{:?} with {:?}, protocol {}",
        about.level,
        about.hello.display_name(),
        about.version
    )
}
