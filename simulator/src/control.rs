//! The handle of a running simulator: reads what it saw, scripts its misbehaviour, and knows the truth.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::company::Company;
use super::lynn::Shape;
use super::mischief::{Fault, Hold, Match, Point};
use super::stats::Stats;
use super::{FileBody, TruthHandle, Vendor, World, jaicp, khoros, lexer, locked, lynn};

/// Cheap to clone. Works while the simulator runs, and can still be read after it stopped.
#[derive(Clone)]
pub struct Control {
    pub(super) world: Arc<World>,
}

impl Control {
    /// Everything seen so far.
    pub fn stats(&self) -> Stats {
        let mut stats = locked(&self.world.stats).clone();
        stats.uptime_secs = self.world.now().as_secs_f64();
        stats.limits = Vendor::ALL.iter().flat_map(|&vendor| self.world.gateway(vendor).stats()).collect();
        stats
    }

    /// Queues a fault.
    pub fn mischief(&self, fault: Fault) {
        self.world.mischief.add(fault);
    }

    /// Queues a fault for the next matching call.
    pub fn next(&self, on: Match, action: super::Action) {
        self.mischief(Fault::new(on, action));
    }

    /// Holds the next matching call.
    pub fn hold(&self, on: Match, point: Point) -> Hold {
        self.hold_after(on, 0, point)
    }

    /// Holds the matching call after `after` others.
    pub fn hold_after(&self, on: Match, after: u32, point: Point) -> Hold {
        self.world.mischief.hold(on, after, point).1
    }

    /// Removes queued faults and export fates, and releases held calls. Edits of the truth stay.
    pub fn quiet(&self) {
        self.world.mischief.quiet();
        self.world.khoros.quiet();
    }

    /// Number of queued faults that no call has met yet.
    pub fn pending(&self) -> usize {
        self.world.mischief.pending()
    }

    /// Number of calls that met an action, by [`Action::name`](super::Action::name).
    pub fn met(&self) -> BTreeMap<String, u64> {
        self.world.mischief.met()
    }

    /// Number of calls so far that were refused because of their credentials.
    pub fn unauthorized(&self) -> u64 {
        locked(&self.world.stats).unauthorized
    }

    /// The truth of a vendor's reports.
    pub fn data(&self, vendor: Vendor) -> TruthHandle {
        TruthHandle { world: Arc::clone(&self.world), vendor }
    }

    /// The truth of Lynn's reports.
    pub fn lynn(&self) -> TruthHandle {
        self.data(Vendor::Lynn)
    }

    /// The facts behind the rows of all vendors, without edits.
    pub fn company(&self) -> &Company {
        &self.world.company
    }

    pub fn outbound(&self) -> lynn::outbound::Handle {
        lynn::outbound::Handle(self.clone())
    }

    pub fn khoros(&self) -> khoros::Handle {
        khoros::Handle(self.clone())
    }

    pub fn lexer(&self) -> lexer::Handle {
        lexer::Handle(self.clone())
    }

    pub fn jaicp(&self) -> jaicp::Handle {
        jaicp::Handle(self.clone())
    }

    /// Stores a file in the storage and returns a link that is valid for `ttl`. The name is used in the URL unchanged.
    pub fn put_file(&self, name: &str, content_type: &str, body: impl Into<FileBody>, ttl: Duration) -> String {
        self.world.files.put(name, content_type, body, ttl)
    }

    /// Changes the shape of Lynn's responses from now on.
    pub fn shape(&self, change: impl FnOnce(&mut Shape)) {
        change(&mut self.world.lynn.shape.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Makes every token of Lynn expire now, without notice.
    pub fn expire_tokens(&self) {
        self.world.lynn.expire_tokens();
    }
}
