//! How a secret comes in: by standard input, by a prompt without echo, or, warned about, as an argument.

use sync_core::secret::{READ_WRITE_SYMBOLS, Secret};
use zeroize::Zeroizing;

use crate::{Failure, Out};

/// The most that is read of standard input. No secret is near as long.
const LIMIT: u64 = 4_096;

/// Reads the secret that an argument stands for: `-` is standard input or a prompt, anything else is the
/// secret itself.
pub(crate) fn secret(argument: &str, out: &mut Out) -> Result<Secret, Failure> {
    let text = if argument != "-" {
        out.warn(
            "a secret on a command line can be seen by others and stays in the shell's history; \
             use `-` and give it on standard input",
        );
        Zeroizing::new(argument.to_owned())
    } else if out.stdin_terminal {
        Zeroizing::new(
            rpassword::prompt_password("Secret (it isn't shown): ").map_err(|error| {
                Failure::failed(format!("the terminal can't be read: {error}"), None)
            })?,
        )
    } else {
        out.first_line_of_stdin(LIMIT)?
    };
    Secret::parse(&text).map_err(|error| Failure::usage(error.to_string()))
}

/// Hides whatever may be a secret in a text that quotes what was typed.
pub(crate) fn hide_secrets(text: &str, typed: impl Iterator<Item = String>) -> String {
    typed
        .flat_map(|word| word.split('=').map(str::to_owned).collect::<Vec<_>>())
        .filter(|word| {
            word.len() + 4 >= READ_WRITE_SYMBOLS && word.bytes().all(|b| b.is_ascii_alphanumeric())
        })
        .fold(text.to_owned(), |text, word| {
            text.replace(&word, "[hidden]")
        })
}
