//! The company whose customers the simulated vendors serve: one set of facts, from which every vendor's rows are made.
//!
//! The facts of a day follow from the seed and the day alone, so that they come out the same whenever they are asked
//! for. The same agents work in several systems, and some customers turn to several of them. Contacts follow the
//! hours and weekdays of the company's zone, and customers who waited long are less satisfied.
//!
//! Edits of a vendor's truth change its rows, not these facts.

mod calendar;
pub(crate) mod jaicp;
pub(crate) mod khoros;
pub(crate) mod lexer;
pub(crate) mod lynn;
pub mod people;
pub(crate) mod plan;
mod questions;
#[cfg(test)]
mod tests;

pub use self::questions::{AgentCount, CampaignCount, Contact, Identity, IntentCount, LexerReply, Nps, Sla};

use self::plan::Plan;
use super::truth::{Row, Ticks, Volume};

/// The company of a seed and a volume.
pub struct Company {
    pub seed: u64,
    pub(crate) social: khoros::Social,
    pub(crate) inbox: lexer::Inbox,
    pub(crate) bot: lynn::Bot,
    pub(crate) chat: jaicp::Chat,
    /// Whether rows are final from the beginning.
    is_final: bool,
}

impl Company {
    pub fn new(seed: u64, volume: Volume) -> Self {
        let plan = Plan::new(seed, volume);
        Self {
            seed,
            is_final: plan.is_even(),
            social: khoros::Social::new(plan),
            inbox: lexer::Inbox::new(plan),
            bot: lynn::Bot::new(plan),
            chat: jaicp::Chat::new(plan),
        }
    }

    /// Whether all of Lexer's reports have equally many rows.
    pub(crate) fn lexer_is_even(&self) -> bool {
        self.inbox.plan.is_even()
    }

    /// The row as it is known at its present.
    pub(crate) fn known(&self, row: Row) -> Row {
        Row { now: if self.is_final { Ticks::MAX } else { row.now }, ..row }
    }
}
