//! The scripts that the server's engine runs in drop-in mode. This engine does not try them again until SCRIPT FLUSH.

use std::collections::{HashSet, VecDeque};

use crate::lua::source::digest::{Digest, DigestHash};

/// See the module's documentation.
#[derive(Default)]
pub(in crate::lua) struct LeftToServer {
    digests: HashSet<Digest, DigestHash>,
    order: VecDeque<Digest>,
}

impl LeftToServer {
    /// The most digests. A forgotten script is only compiled once more.
    const MOST: usize = 4096;

    pub fn contains(&self, digest: Digest) -> bool {
        !self.order.is_empty() && self.digests.contains(&digest)
    }

    /// Adds a script, and drops the oldest if there are too many.
    pub fn add(&mut self, digest: Digest) {
        if !self.digests.insert(digest) {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.digests.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_scripts_are_kept() {
        let digest = |number: usize| Digest::of(&number.to_le_bytes());
        let mut left = LeftToServer::default();
        for number in 0..LeftToServer::MOST + 10 {
            left.add(digest(number));
            left.add(digest(number));
        }
        assert_eq!((left.digests.len(), left.order.len()), (LeftToServer::MOST, LeftToServer::MOST));
        assert!(!left.contains(digest(9)) && left.contains(digest(10)) && left.contains(digest(LeftToServer::MOST)));
    }
}
