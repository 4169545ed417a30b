//! The addresses of members that people write down: one check for the command line, the file and the API, by the
//! parser that later looks them up, so that none is taken and then left out.

use sync_discovery::known_hosts::HostPort;

/// The most known hosts of one folder.
const MAX: usize = 256;

/// Whether a text is the address of a host, with a port.
///
/// # Errors
///
/// Says what is wrong with it.
pub(crate) fn check(text: &str) -> Result<(), String> {
    text.parse::<HostPort>().map(drop).map_err(|error| {
        let shown: String = text.chars().take(300).collect();
        format!("`{shown}` is no HOST:PORT: {error}")
    })
}

/// Checks the known hosts of one folder.
///
/// # Errors
///
/// Names the first that is wrong, or says that they are too many.
pub(crate) fn check_all(hosts: &[String]) -> Result<(), String> {
    if hosts.len() > MAX {
        let found = hosts.len();
        return Err(format!(
            "{found} known hosts are too many, a folder takes {MAX}"
        ));
    }
    hosts.iter().try_for_each(|host| check(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_up_is_refused() {
        for good in ["nas:29170", "[fe80::1%3]:1", "192.0.2.1:2"] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in [
            "nas",
            "nas:0",
            "nas:+1",
            "fe80::1:1",
            "a b:1",
            "10.0.0.256:80",
            "0.0.0.0:1",
            "a..b:1",
        ] {
            let error = check_all(&[bad.to_owned()]).unwrap_err();
            assert!(error.contains(bad) && error.len() > bad.len() + 30);
        }
        let zone = check("[fe80::1%eth0]:29170").unwrap_err();
        assert!(zone.contains("by its number"), "{zone}");
        assert!(check_all(&vec!["nas:1".to_owned(); MAX + 1]).is_err());
    }
}
