//! Where the daemon's home is: the same rule for the daemon and for who looks for it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The place: what was given, else `SYNCD_HOME`, else `syncd` in the platform's data directory. `var` looks a
/// variable of the environment up. `None`: nobody says where it is.
#[must_use]
pub fn locate_home(
    given: Option<&Path>,
    var: impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    let set = |name| {
        var(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(home) = given.map(Path::to_path_buf).or_else(|| set("SYNCD_HOME")) {
        return Some(home);
    }
    let data = if cfg!(target_os = "macos") {
        set("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        // XDG base directories; a relative one is to be ignored.
        set("XDG_DATA_HOME")
            .filter(|data| data.is_absolute())
            .or_else(|| set("HOME").map(|home| home.join(".local/share")))
    };
    data.map(|data| data.join("syncd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_most_plainly_wins() {
        let locate = |given: Option<&str>, vars: &[(&str, &str)]| {
            let found = locate_home(given.map(Path::new), |name| {
                let (_, value) = vars.iter().find(|(key, _)| *key == name)?;
                Some(OsString::from(value))
            });
            found.map(|home| home.to_string_lossy().into_owned())
        };
        let all = [
            ("SYNCD_HOME", "/s"),
            ("XDG_DATA_HOME", "/x"),
            ("HOME", "/h"),
        ];
        assert_eq!(locate(Some("given"), &all).as_deref(), Some("given"));
        assert_eq!(locate(None, &all).as_deref(), Some("/s"));
        let empty = [("SYNCD_HOME", ""), ("XDG_DATA_HOME", "x"), ("HOME", "/h")];
        let data = if cfg!(target_os = "macos") {
            "/h/Library/Application Support/syncd"
        } else {
            assert_eq!(locate(None, &all[1..]).as_deref(), Some("/x/syncd"));
            "/h/.local/share/syncd"
        };
        assert_eq!(locate(None, &empty).as_deref(), Some(data));
        assert_eq!(locate(None, &[]), None);
    }
}
