//! Numbers, durations and foreign text as people read them.

use std::time::Duration;

use sync_core::path::display_bytes;

/// Text from outside, harmless on a terminal: control characters and those that turn the direction of
/// writing are escaped.
pub(crate) fn safe(text: &str) -> String {
    let escaped = display_bytes(text.as_bytes());
    if !escaped.contains(turns) {
        return escaped;
    }
    escaped
        .chars()
        .map(|c| {
            if turns(c) {
                c.escape_unicode().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// Whether a character changes the direction of what follows (UAX #9), by which a name could be made to
/// look like another.
fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `2 files`.
pub(crate) fn many(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { more })
}

/// `4.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `4.5 MiB/s`.
pub(crate) fn rate(bytes: u64) -> String {
    format!("{}/s", size(bytes))
}

/// `2 h 13 min`: the two greatest units that are there.
pub(crate) fn duration(seconds: u64) -> String {
    let (d, h, m, s) = (
        seconds / 86_400,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    let two = |a: u64, a_unit: &str, b: u64, b_unit: &str| match b {
        0 => format!("{a} {a_unit}"),
        b => format!("{a} {a_unit} {b} {b_unit}"),
    };
    match (d, h, m) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, m) => two(m, "min", s, "s"),
        (0, h, m) => two(h, "h", m, "min"),
        (d, h, _) => two(d, "d", h, "h"),
    }
}

/// A duration that is left, rounded so that it doesn't flicker.
pub(crate) fn left(time: Duration) -> String {
    let seconds = time.as_secs();
    duration(match seconds {
        0..60 => seconds.max(1),
        60..3_600 => seconds / 5 * 5,
        _ => seconds / 60 * 60,
    })
}

/// A word as a shell takes it.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-~+:@%,".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size(1_048_575), "1.0 MiB");
        assert_eq!(size(u64::MAX), "16.0 EiB");
        assert_eq!(many(1, "file", "files"), "1 file");
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(7_980), "2 h 13 min");
        assert_eq!(duration(86_400), "1 d");
        assert_eq!(left(Duration::from_secs(83)), "1 min 20 s");
    }

    #[test]
    fn foreign_text_is_harmless() {
        assert_eq!(safe("ü\u{1b}[31m"), "ü\\u{1b}[31m");
        assert_eq!(safe("a\u{202e}gpj.exe"), "a\\u{202e}gpj.exe");
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell_word("/home/u/Sync"), "/home/u/Sync");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word(""), "''");
    }
}
