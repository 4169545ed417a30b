//! How a secret comes in: by standard input, by a prompt without echo, or, warned about, as an argument.

use sync_core::secret::{MAX_INPUT, Secret};
use zeroize::Zeroizing;

use crate::{Failure, Out};

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
        out.first_line_of_stdin(MAX_INPUT)?
    };
    Secret::parse(&text).map_err(|error| Failure::usage(error.to_string()))
}
