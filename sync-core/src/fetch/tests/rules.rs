//! One rule at a time.

use super::sim::{Peer, Sim};
use super::*;
