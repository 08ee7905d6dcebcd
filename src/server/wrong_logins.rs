//! Wrong logins in the log: for each address at most one line a minute, with their number.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An address is logged again after this.
const PERIOD: Duration = Duration::from_mins(1);
/// Addresses that are counted for themselves at the same time. Further ones are counted together.
const ADDRESSES_MAX: usize = 32;

/// The wrong logins of the last minutes.
#[derive(Debug, Default)]
pub(super) struct WrongLogins(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_address: BTreeMap<IpAddr, Count>,
    /// Those of further addresses, and the last one of these.
    further: Option<(IpAddr, Count)>,
}

#[derive(Debug)]
struct Count {
    logged_at: Instant,
    /// Wrong logins since then.
    unlogged: u64,
}

/// A line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    address: IpAddr,
    times: u64,
    /// Whether it is about many addresses, of which this is the last.
    is_of_many: bool,
}

impl WrongLogins {
    /// Counts a wrong login, and logs what is to be logged now.
    pub(super) fn count(&self, address: IpAddr) {
        let lines = self.counts(|counts| counts.add(address.to_canonical(), Instant::now()));
        lines.into_iter().for_each(Line::log);
    }

    /// Logs those that were counted more than a minute ago, also if no further one follows.
    pub(super) fn log_counted(&self) {
        let lines = self.counts(|counts| counts.due(Instant::now()));
        lines.into_iter().for_each(Line::log);
    }

    fn counts<T>(&self, work: impl FnOnce(&mut Counts) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counts {
    fn add(&mut self, address: IpAddr, now: Instant) -> Vec<Line> {
        let mut lines = self.due(now);
        let first = |is_of_many| Line { address, times: 1, is_of_many };
        if let Some(count) = self.by_address.get_mut(&address) {
            count.unlogged += 1;
        } else if self.by_address.len() < ADDRESSES_MAX {
            self.by_address.insert(address, Count { logged_at: now, unlogged: 0 });
            lines.push(first(false));
        } else if let Some((last, count)) = &mut self.further {
            *last = address;
            count.unlogged += 1;
        } else {
            self.further = Some((address, Count { logged_at: now, unlogged: 0 }));
            lines.push(first(true));
        }
        lines
    }

    /// The lines about those that were counted before. Forgets addresses without one in the last minute.
    fn due(&mut self, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut keeps = |address: IpAddr, count: &mut Count, is_of_many| {
            if now.saturating_duration_since(count.logged_at) < PERIOD {
                return true;
            }
            if count.unlogged == 0 {
                return false;
            }
            lines.push(Line { address, times: count.unlogged, is_of_many });
            *count = Count { logged_at: now, unlogged: 0 };
            true
        };
        self.by_address.retain(|address, count| keeps(*address, count, false));
        if let Some((last, count)) = &mut self.further
            && !keeps(*last, count, true)
        {
            self.further = None;
        }
        lines
    }
}

impl Line {
    fn log(self) {
        let Self { address, times, is_of_many } = self;
        if is_of_many {
            tracing::warn!(last = %address, times, "wrong credentials on the status port from many addresses");
        } else {
            tracing::warn!(%address, times, "wrong credentials on the status port");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, number).into()
    }

    fn line(number: u8, times: u64) -> Line {
        Line { address: address(number), times, is_of_many: false }
    }

    #[test]
    fn p7_wrong_logins_are_counted_for_each_address() {
        let (mut counts, begun) = (Counts::default(), Instant::now());
        let at = |secs| begun + Duration::from_secs(secs);
        assert_eq!(counts.add(address(1), at(0)), [line(1, 1)]);
        for _ in 0..1_499 {
            assert_eq!(counts.add(address(1), at(1)), []);
        }
        assert_eq!(counts.add(address(9), at(2)), [line(9, 1)], "with its own number");
        assert_eq!(counts.add(address(9), at(3)), []);
        assert_eq!(counts.due(at(59)), []);
        assert_eq!(counts.add(address(9), at(60)), [line(1, 1_499)], "a minute is over for the first one only");
        assert_eq!(counts.due(at(62)), [line(9, 2)]);
        assert_eq!((counts.due(at(119)), counts.due(at(122))), (vec![], vec![]));
        assert!(counts.by_address.is_empty(), "they are forgotten");
        assert_eq!(counts.add(address(1), at(123)), [line(1, 1)]);
    }

    #[test]
    fn p7_wrong_logins_from_any_number_of_addresses_are_a_few_lines() {
        let (mut counts, begun) = (Counts::default(), Instant::now());
        let at = |secs| begun + Duration::from_secs(secs);
        let of_many = |number, times| Line { address: address(number), times, is_of_many: true };
        let lines: Vec<Line> = (0..=255).flat_map(|number| counts.add(address(number), at(0))).collect();
        assert_eq!(lines.len(), ADDRESSES_MAX + 1);
        assert_eq!(lines[..2], [line(0, 1), line(1, 1)]);
        assert_eq!((lines[ADDRESSES_MAX], counts.by_address.len()), (of_many(32, 1), ADDRESSES_MAX));
        assert_eq!(counts.add(address(5), at(1)), [], "one that is known is counted for itself");
        assert_eq!(counts.due(at(60)), [line(5, 1), of_many(255, 223)]);
        assert_eq!(counts.due(at(120)), []);
        assert!(counts.by_address.is_empty() && counts.further.is_none());
    }
}
