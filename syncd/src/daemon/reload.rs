//! Taking the settings anew while the daemon runs.

use serde_json::json;
use sync_core::control::EventType;
use tracing::{info, warn};

use super::Daemon;
use crate::{
    asking::end_part,
    config::{self, ConfigError, Settings},
    mechanisms, parts,
    wiring::{self, part},
};

impl Daemon {
    /// Reads the settings anew. Gives the names of those that changed.
    pub(crate) async fn reload(&mut self) -> Result<Vec<&'static str>, ConfigError> {
        let file = config::read(&self.wires.home.config())?;
        let old = self.wires.settings();
        let reloaded = old.reload(Settings::new(self.line.clone(), file));
        for option in &reloaded.later {
            warn!(
                "`{}` in config.toml takes effect at the next start",
                option.name
            );
        }
        let new = reloaded.settings;
        self.wires.set_settings(new.clone());
        if old.log() != new.log() {
            self.wires.log.set(new.log().as_deref());
        }
        mechanisms::reload(&self.wires, self.wires.want()).await;
        if old.name() != new.name() {
            // One that is slow to end comes back by itself, with the new name.
            let ended = end_part(&self.wires, part::LISTENER.to_owned()).await;
            if ended.is_ok() {
                wiring::add(&self.wires.root, parts::listener(&self.wires, None));
            }
        }
        let now: Vec<_> = reloaded.now.iter().map(|option| option.name).collect();
        info!(changed = ?now, "config.toml was read again");
        self.wires
            .events
            .push(EventType::ConfigReloaded, None, json!({ "changed": now }));
        Ok(now)
    }
}
