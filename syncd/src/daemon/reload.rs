//! Taking the settings anew while the daemon runs.

use serde_json::json;
use sync_core::control::EventType;
use tracing::{info, warn};

use super::Daemon;
use crate::{
    asking::end_part,
    config::{ConfigError, Options, Settings},
    wiring::{self, part},
};

impl Daemon {
    /// Reads the settings anew. Gives the names of those that changed.
    pub(crate) async fn reload(&mut self) -> Result<Vec<&'static str>, ConfigError> {
        let file = Options::read(&self.wires.home.config())?;
        let new = Settings::from(self.line.clone().over(file));
        let old = self.wires.settings();
        let (now, later) = (old.changes_now(&new), old.needs_restart(&new));
        for name in &later {
            warn!("`{name}` in config.toml takes effect at the next start");
        }
        let kept = Settings {
            listen: old.listen,
            bind: old.bind.clone(),
            lan_port: old.lan_port,
            log_json: old.log_json,
            ..new
        };
        self.wires.set_settings(kept.clone());
        if old.log != kept.log {
            self.wires.log.set(kept.log.as_deref());
        }
        if old.known_hosts != kept.known_hosts {
            let roster: Vec<_> = self
                .wires
                .roster()
                .iter()
                .map(|(t, e)| (*t, e.clone()))
                .collect();
            for (tag, entry) in roster {
                self.withdraw(tag);
                self.announce(tag, &entry);
            }
        }
        if old.lan != kept.lan {
            let ended = end_part(&self.wires, part::LAN.to_owned()).await.is_ok();
            self.wires.lan.set(None);
            if kept.lan && ended {
                wiring::add(&self.wires.root, wiring::lan(&self.wires));
            }
        }
        if old.name != kept.name {
            // One that is slow to end comes back by itself, with the new name.
            let ended = end_part(&self.wires, part::LISTENER.to_owned()).await;
            if ended.is_ok() {
                wiring::add(&self.wires.root, wiring::listener(&self.wires, None));
            }
        }
        info!(changed = ?now, "config.toml was read again");
        self.wires
            .events
            .push(EventType::ConfigReloaded, None, json!({ "changed": now }));
        Ok(now)
    }
}
