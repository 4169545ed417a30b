//! Hiding secrets in texts that quote what was typed.

use super::READ_WRITE_SYMBOLS;

/// So many symbols may be missing of what is taken for a secret.
const MISSING: usize = 4;

/// Hides whatever may be a secret, or most of one, in a text for people: every run of letters and digits
/// that is about as long as the shortest secret.
#[must_use]
pub fn hide_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let run = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let (word, more) = rest.split_at(run);
        shown.push_str(if run + MISSING < READ_WRITE_SYMBOLS {
            word
        } else {
            "[hidden]"
        });
        let other = more
            .find(|c: char| c.is_ascii_alphanumeric())
            .unwrap_or(more.len());
        let (between, next) = more.split_at(other);
        shown.push_str(between);
        rest = next;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{SECRET_BYTES, Secret};

    #[test]
    fn nothing_of_a_secret_is_left_and_nothing_else_is_hidden() {
        let secret = Secret::generate([9; SECRET_BYTES]);
        for text in [secret.reveal(), secret.to_read_only().reveal()] {
            for quoted in [
                format!("unexpected argument '{}' found", *text),
                format!("unexpected argument '--secret={} ' found", *text),
                format!("ü'{}'", text[4..].to_lowercase()),
            ] {
                let hidden = hide_secrets(&quoted);
                assert!(hidden.contains("[hidden]") && !hidden.contains(&text[8..16]));
                assert!(!hidden.contains(&text.to_lowercase()[8..16]), "{hidden}");
            }
        }
        for plain in ["", "ü", "tip: use '-- --nonsense' (29170)\n", "aé1"] {
            assert_eq!(hide_secrets(plain), plain);
        }
    }
}
