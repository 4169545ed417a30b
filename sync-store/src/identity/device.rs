//! The device's own secret, from which its key in each folder is derived.

use std::{fmt, path::Path};

use minicbor::{Decode, Encode};
use zeroize::{Zeroize, Zeroizing};

use super::{IdentityError, file, private_dir, random};

const NAME: &str = "device";
const KIND: u8 = 1;

/// Who this device is. Drawn once, and kept for its life.
pub struct DeviceIdentity {
    secret: Zeroizing<[u8; 32]>,
    created_unix_ns: i64,
}

#[derive(Encode, Decode)]
struct Stored {
    #[cbor(n(0), with = "minicbor::bytes")]
    secret: [u8; 32],
    #[n(1)]
    created_unix_ns: i64,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for DeviceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceIdentity(secret)")
    }
}

impl DeviceIdentity {
    /// Reads the identity in the directory `dir`, or draws one; `unix_ns` is the time now. The directory is
    /// made if need be, private to its owner.
    ///
    /// # Errors
    ///
    /// A damaged file is an error and stays as it is: with another secret the device would be a
    /// stranger to all its peers, and that is for the user to decide.
    pub fn load_or_create(dir: &Path, unix_ns: i64) -> Result<Self, IdentityError> {
        let path = dir.join(NAME);
        let io = |source| IdentityError::Io {
            path: path.clone(),
            source,
        };
        private_dir(dir).map_err(io)?;
        if let Some(body) = file::read_sealed(&path, KIND)? {
            file::set_mode(&path, 0o600).map_err(io)?;
            let stored: Stored = minicbor::decode(&body).map_err(|e| IdentityError::Damaged {
                path: path.clone(),
                what: e.to_string(),
            })?;
            let created_unix_ns = stored.created_unix_ns;
            return Ok(Self {
                secret: Zeroizing::new(stored.secret),
                created_unix_ns,
            });
        }
        let stored = Stored {
            secret: random()?,
            created_unix_ns: unix_ns,
        };
        // Encoding to a vector can't fail, and an empty body would be found by the next reading.
        let body = Zeroizing::new(minicbor::to_vec(&stored).unwrap_or_default());
        file::write_sealed(dir, NAME, KIND, &body)?;
        Ok(Self {
            secret: Zeroizing::new(stored.secret),
            created_unix_ns: unix_ns,
        })
    }

    /// The secret.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// When it was drawn, in ns since 1970.
    pub fn created_unix_ns(&self) -> i64 {
        self.created_unix_ns
    }
}
