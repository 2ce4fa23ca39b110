//! The script cache: scripts by the SHA1 of their source.
//!
//! A stored script is also in a library of the server. It is cached as long as it is stored: evicting it would gain nothing. All
//! other scripts are evictable: they are bounded in count and in bytes, and the least recently used one is evicted first. The
//! cache keeps the sources, so a script outlives the VM that compiled it: a compiled function carries the number of its VM, and a
//! script whose VM is gone is compiled again when it is used.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use crate::lua::port::ScriptFlags;
use crate::lua::source::digest::{Digest, DigestHash};
use crate::lua::stats::{RunCounters, RunFigures};
use crate::lua::vm::pinned::Ref;

/// The most evictable scripts, as in Redis.
pub const EVICTABLE_SCRIPTS: usize = 500;

/// The most bytes of source in evictable scripts.
pub const EVICTABLE_BYTES: usize = 16 << 20;

/// The most bytes that a stored script takes besides its source: the library in the server (its names, its function, its entries
/// in two tables), and the entry here with a short compiled script. Measurements gave 1,900 to 2,450 bytes;
/// `tests/it/script/store/cost.rs` checks the bound on every server.
const STORED_OVERHEAD: usize = 2560;

/// The most memory that a stored source takes: the server and the engine each keep a copy, and an allocation may be a quarter
/// larger than requested.
#[must_use]
pub const fn stored_memory(source_bytes: usize) -> usize {
    source_bytes.saturating_mul(2).saturating_add(source_bytes / 2).saturating_add(STORED_OVERHEAD)
}

/// A function in a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) struct Compiled {
    /// The number of the VM.
    pub vm: u64,
    pub function: Ref,
    /// The flags that the script declares.
    pub flags: Option<ScriptFlags>,
    /// Bytes by which the memory of the VM grew.
    pub bytes: usize,
    /// The script means something else in Lua 5.1.
    pub differs: bool,
    /// It was compiled to machine code, as far as Luau can.
    pub native: bool,
    /// Machine code was attempted.
    pub tried_natively: bool,
}

pub(in crate::lua) struct Script {
    pub source: Box<[u8]>,
    pub compiled: Option<Compiled>,
    pub counters: RunCounters,
    used: u64,
    /// Its place in the order of eviction; a stored script has none.
    place: Option<u64>,
}

/// The row of a script in LIST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    pub digest: Digest,
    /// Bytes of its source.
    pub bytes: usize,
    pub stored: bool,
    pub calls: u64,
}

/// The figures of a script in STATS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptStats {
    /// Bytes of its source.
    pub bytes: usize,
    pub stored: bool,
    /// Roughly the bytes that the compiled script takes in the VM; 0 if it is not compiled.
    pub memory: usize,
    /// It runs as machine code.
    pub native: bool,
    pub runs: RunFigures,
}

/// The figures of the cache in INFO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    pub scripts: usize,
    /// Bytes of source.
    pub bytes: usize,
    /// Stored scripts.
    pub stored: usize,
    /// Bytes of source in stored scripts.
    pub stored_bytes: usize,
    /// The memory of stored scripts, here and in the server: the sum of [`stored_memory`].
    pub stored_memory: usize,
    /// Scripts evicted since the engine started or its statistics were reset.
    pub evicted: u64,
}

/// See the module's documentation.
#[derive(Default)]
pub(in crate::lua) struct Cache {
    scripts: HashMap<Digest, Script, DigestHash>,
    /// The digests of all scripts, for [`Cache::list`].
    order: BTreeSet<Digest>,
    clock: u64,
    bytes: usize,
    /// The evictable scripts by time of use, as of their insertion here: a use does not move a script, eviction does.
    evictable: BTreeMap<u64, Digest>,
    evictable_bytes: usize,
    stored_memory: usize,
    evicted: u64,
}

impl Cache {
    pub fn contains(&self, digest: Digest) -> bool {
        self.scripts.contains_key(&digest)
    }

    /// Whether the script is cached and stored.
    pub fn is_stored(&self, digest: Digest) -> bool {
        self.scripts.get(&digest).is_some_and(|script| script.place.is_none())
    }

    pub fn source(&self, digest: Digest) -> Option<&[u8]> {
        self.scripts.get(&digest).map(|script| &*script.source)
    }

    /// The script. This counts as a use.
    pub fn get(&mut self, digest: Digest) -> Option<&mut Script> {
        self.clock += 1;
        let script = self.scripts.get_mut(&digest)?;
        script.used = self.clock;
        Some(script)
    }

    /// Adds a script that is not cached yet.
    pub fn insert(&mut self, digest: Digest, source: &[u8], compiled: Option<Compiled>) {
        self.clock += 1;
        let (used, place) = (self.clock, Some(self.clock));
        self.bytes += source.len();
        self.evictable.insert(used, digest);
        self.evictable_bytes += source.len();
        self.order.insert(digest);
        self.scripts.insert(digest, Script { source: source.into(), compiled, counters: RunCounters::default(), used, place });
    }

    /// Notes that a cached script is stored, so it is no longer evictable.
    pub fn set_stored(&mut self, digest: Digest) {
        let Some(script) = self.scripts.get_mut(&digest) else { return };
        if let Some(place) = script.place.take() {
            self.evictable.remove(&place);
            self.evictable_bytes -= script.source.len();
            self.stored_memory += stored_memory(script.source.len());
        }
    }

    /// Notes that a script is no longer stored, so it is evictable.
    pub fn set_evictable(&mut self, digest: Digest) {
        let Some(script) = self.scripts.get_mut(&digest).filter(|script| script.place.is_none()) else { return };
        script.place = Some(script.used);
        self.evictable.insert(script.used, digest);
        self.evictable_bytes += script.source.len();
        self.stored_memory -= stored_memory(script.source.len());
    }

    /// Notes that of the cached scripts exactly these are stored.
    pub fn set_all_stored(&mut self, stored: &HashSet<Digest>) {
        let gone: Vec<_> = self.stored().filter(|digest| !stored.contains(digest)).collect();
        gone.into_iter().for_each(|digest| self.set_evictable(digest));
        stored.iter().for_each(|&digest| self.set_stored(digest));
    }

    /// Removes the least recently used evictable script if there are too many. Never removes the one that was used last.
    pub fn evict(&mut self) -> Option<Script> {
        let count = self.evictable.len();
        if count <= 1 || (count <= EVICTABLE_SCRIPTS && self.evictable_bytes <= EVICTABLE_BYTES) {
            return None;
        }
        loop {
            let (place, digest) = self.evictable.pop_first()?;
            let script = self.scripts.get_mut(&digest)?;
            if script.used == place {
                break self.remove(digest);
            }
            // It was used since its insertion. Every other script was used after its own place, so the first script that still
            // has the place of its last use is the oldest.
            script.place = Some(script.used);
            self.evictable.insert(script.used, digest);
        }
    }

    fn remove(&mut self, digest: Digest) -> Option<Script> {
        let script = self.scripts.remove(&digest)?;
        self.order.remove(&digest);
        self.bytes -= script.source.len();
        self.evictable_bytes -= script.source.len();
        self.evicted += 1;
        Some(script)
    }

    /// Removes all scripts.
    pub fn clear(&mut self) {
        *self = Self { evicted: self.evicted, ..Self::default() };
    }

    pub fn stats(&self) -> CacheStats {
        CacheStats {
            scripts: self.scripts.len(),
            bytes: self.bytes,
            stored: self.scripts.len() - self.evictable.len(),
            stored_bytes: self.bytes - self.evictable_bytes,
            stored_memory: self.stored_memory,
            evicted: self.evicted,
        }
    }

    /// At most `count` scripts after a digest, or from the first one on, in the order of their digests.
    pub fn list(&self, after: Option<Digest>, count: usize) -> Vec<Listed> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let listed = |&digest: &Digest| {
            let Script { source, counters, place, .. } = self.scripts.get(&digest)?;
            Some(Listed { digest, bytes: source.len(), stored: place.is_none(), calls: counters.calls() })
        };
        self.order.range((from, Bound::Unbounded)).filter_map(listed).take(count).collect()
    }

    /// The stored scripts, in no particular order.
    pub fn stored(&self) -> impl Iterator<Item = Digest> {
        self.scripts.iter().filter(|(_, script)| script.place.is_none()).map(|(&digest, _)| digest)
    }

    /// The figures of one script. `vm` is the number of the current VM.
    pub fn script_stats(&self, digest: Digest, vm: u64) -> Option<ScriptStats> {
        let Script { source, compiled, counters, place, .. } = self.scripts.get(&digest)?;
        let compiled = compiled.filter(|compiled| compiled.vm == vm);
        let memory = compiled.map_or(0, |compiled| compiled.bytes);
        let native = compiled.is_some_and(|compiled| compiled.native);
        Some(ScriptStats { bytes: source.len(), stored: place.is_none(), memory, native, runs: counters.figures() })
    }

    /// Sets all counters to zero.
    pub fn reset_stats(&mut self) {
        self.evicted = 0;
        self.scripts.values_mut().for_each(|script| script.counters = RunCounters::default());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const COMPILED: Compiled =
        Compiled { vm: 0, function: Ref::NIL, flags: None, bytes: 3, differs: false, native: false, tried_natively: false };

    fn add(cache: &mut Cache, source: &[u8]) -> Digest {
        let digest = Digest::of(source);
        cache.insert(digest, source, Some(COMPILED));
        digest
    }

    #[test]
    fn least_recently_used_is_evicted_and_stored_scripts_stay() {
        let mut cache = Cache::default();
        let digests: Vec<_> = (0..=EVICTABLE_SCRIPTS).map(|i| add(&mut cache, format!("return {i}").as_bytes())).collect();
        cache.get(digests[0]);
        assert!(cache.evict().is_some());
        assert!(cache.evict().is_none());
        assert!(cache.contains(digests[0]) && !cache.contains(digests[1]));
        cache.set_stored(digests[2]);
        add(&mut cache, b"a");
        assert!(cache.evict().is_none());
        add(&mut cache, b"b");
        assert!(cache.evict().is_some());
        assert!(cache.contains(digests[2]) && !cache.contains(digests[3]));
        assert_eq!(cache.stats().evicted, 2);
    }

    /// Against a list that is in the order of use.
    #[test]
    fn the_least_recently_used_is_evicted_whatever_happened_before() {
        let (mut cache, mut order, mut state) = (Cache::default(), Vec::<Digest>::new(), 1_u64);
        let mut stored = HashSet::new();
        for step in 0..20_000_u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let chosen = order.get((state >> 33) as usize % order.len().max(1)).copied();
            match (chosen, state >> 60) {
                (Some(digest), 0..=6) => {
                    cache.get(digest);
                    order.retain(|&other| other != digest);
                    order.push(digest);
                }
                (Some(digest), 7) => {
                    cache.set_stored(digest);
                    stored.insert(digest);
                }
                (Some(_), 8) if step.is_multiple_of(50) => {
                    stored.retain(|digest: &Digest| digest.hex()[0] < b'8');
                    cache.set_all_stored(&stored);
                }
                _ => order.push(add(&mut cache, format!("return {step}").as_bytes())),
            }
            while cache.evict().is_some() {
                let oldest = order.iter().position(|digest| !stored.contains(digest)).unwrap();
                let digest = order.remove(oldest);
                assert!(!cache.contains(digest), "step {step}");
            }
            assert_eq!((cache.stats().scripts, cache.stats().stored), (order.len(), stored.len()), "step {step}");
        }
        assert!(cache.stats().evicted > 1000 && cache.stats().stored > 100, "{:?}", cache.stats());
        let bytes: usize = order.iter().map(|&digest| cache.source(digest).unwrap().len()).sum();
        assert_eq!(cache.stats().bytes, bytes);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut cache = Cache::default();
        let big = vec![b'-'; EVICTABLE_BYTES + 1];
        let first = add(&mut cache, b"a");
        let last = add(&mut cache, &big);
        assert!(cache.evict().is_some());
        assert!(cache.evict().is_none(), "the script that was just used stays");
        assert!(!cache.contains(first) && cache.contains(last));
        assert_eq!(cache.stats().bytes, big.len());
        cache.clear();
        assert_eq!(cache.stats(), CacheStats { evicted: 1, ..CacheStats::default() });
    }

    #[test]
    fn a_script_that_is_no_longer_stored_is_evictable() {
        let mut cache = Cache::default();
        let [a, b, c] = [&b"a"[..], b"bb", b"ccc"].map(|source| add(&mut cache, source));
        cache.set_all_stored(&HashSet::from([a, b, Digest::of(b"unknown")]));
        cache.set_stored(a);
        assert_eq!((cache.stats().stored, cache.stats().stored_bytes), (2, 3));
        cache.set_all_stored(&HashSet::from([b, c]));
        assert_eq!((cache.stats().stored, cache.stats().stored_bytes), (2, 5));
        let mut stored: Vec<_> = cache.list(None, 9).iter().map(|script| (script.bytes, script.stored)).collect();
        stored.sort_unstable();
        assert_eq!(stored, [(1, false), (2, true), (3, true)]);
        cache.set_all_stored(&HashSet::new());
        assert_eq!(cache.stats(), CacheStats { scripts: 3, bytes: 6, ..CacheStats::default() });
    }

    #[test]
    fn a_list_continues_after_a_digest_that_may_be_gone() {
        let mut cache = Cache::default();
        let mut digests: Vec<_> = (0..100).map(|i| add(&mut cache, format!("return {i}").as_bytes())).collect();
        digests.sort_unstable();
        let list = |cache: &Cache, after, count| cache.list(after, count).iter().map(|script| script.digest).collect::<Vec<_>>();
        assert_eq!(list(&cache, None, 1000), digests);
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = list(&cache, after, 7);
            pages.extend_from_slice(&page);
            after = page.last().copied();
            if page.len() < 7 {
                break;
            }
        }
        assert_eq!(pages, digests);
        assert_eq!(list(&cache, Digest::parse(&[b'f'; 40]), 7), []);
        cache.remove(digests[50]);
        assert_eq!(list(&cache, Some(digests[50]), 1), digests[51..52]);
        cache.clear();
        assert_eq!(list(&cache, None, 7), []);
    }

    #[test]
    fn a_stored_script_counts_its_memory_in_the_server() {
        let mut cache = Cache::default();
        let [a, b, _] = [&b"a"[..], b"bb", b"ccc"].map(|source| add(&mut cache, source));
        cache.set_stored(a);
        cache.set_stored(b);
        assert_eq!(cache.stats().stored_memory, stored_memory(1) + stored_memory(2));
        cache.set_evictable(a);
        cache.set_evictable(a);
        assert_eq!((cache.stats().stored, cache.stats().stored_memory), (1, stored_memory(2)));
        assert_eq!(stored_memory(usize::MAX), usize::MAX);
    }

    #[test]
    fn figures_of_a_script_can_be_reset() {
        let mut cache = Cache::default();
        let digest = add(&mut cache, b"return 1");
        cache.get(digest).unwrap().counters.add(std::time::Duration::from_nanos(5), true);
        let stats = cache.script_stats(digest, 0).unwrap();
        assert_eq!((stats.bytes, stats.stored, stats.memory, stats.runs.calls, stats.runs.errors), (8, false, 3, 1, 1));
        assert_eq!(cache.script_stats(digest, 1).unwrap().memory, 0, "compiled in another VM");
        cache.evicted = 7;
        cache.reset_stats();
        assert_eq!(cache.script_stats(digest, 0).unwrap().runs, RunFigures::default());
        assert_eq!((cache.stats().evicted, cache.stats().scripts), (0, 1));
        assert_eq!(cache.script_stats(Digest::of(b""), 0), None);
    }
}
