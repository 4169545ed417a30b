//! The log: where it goes, how much, and how that changes while the daemon runs.
//!
//! It goes to standard error. Nothing may log a secret, and names from other devices are escaped before
//! they are logged.

use std::io::IsTerminal;

use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::{config::Settings, options::LOG_JSON};

/// Changes how much is logged.
#[derive(Debug, Clone, Default)]
pub struct LogControl(Option<reload::Handle<EnvFilter, Registry>>);

impl LogControl {
    /// Sets the level anew. Without a log of our own, as in a test, nothing happens.
    pub fn set(&self, level: Option<&str>) {
        if let Some(handle) = &self.0 {
            let _ = handle.reload(filter(level));
        }
    }
}

/// Starts logging for the whole process. The level is the given one, else `RUST_LOG`, else `info`.
#[must_use]
pub fn start(settings: &Settings) -> LogControl {
    let (filter, handle) = reload::Layer::new(filter(settings.log().as_deref()));
    let stderr = std::io::stderr;
    let as_json = settings.get(&LOG_JSON);
    let plain = (!as_json).then(|| {
        fmt::layer()
            .with_writer(stderr)
            .with_target(false)
            .with_ansi(stderr().is_terminal() && colours_wanted())
    });
    let json = as_json.then(|| fmt::layer().json().with_writer(stderr));
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(plain)
        .with(json)
        .try_init();
    LogControl(started.is_ok().then_some(handle))
}

/// <https://no-color.org>
fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn filter(level: Option<&str>) -> EnvFilter {
    let told = level
        .map(str::to_owned)
        .or_else(|| std::env::var("RUST_LOG").ok());
    let told = told
        .filter(|text| !text.trim().is_empty())
        .unwrap_or_else(|| "info".to_owned());
    // The store's own chatter tells people nothing.
    let quiet = if told.contains('=') {
        told
    } else {
        format!("{told},sled=warn,pagecache=warn")
    };
    EnvFilter::builder().parse_lossy(quiet)
}
