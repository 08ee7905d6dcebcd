//! A login that is refused until the storm is over, as if the credential had been revoked: a problem of which a target
//! must receive the beginning and the end, in every storm.

use std::time::{Duration, Instant};

use simulator::{Action, Fault, Match};

use super::aim::Aim;
use super::journal::Effect;
use super::site::{DATABASE, Site};
use super::storm::Outcome;
use super::{vendors, verify};

/// How long the stream may take to fail.
const FAILS_WITHIN: Duration = Duration::from_mins(1);
/// How long the target may take to receive that, after a check for problems.
const NOTIFIED_WITHIN: Duration = Duration::from_mins(1);

/// The beginning of messages about the problem. If more streams fail for the same reason, it is one of the connection.
pub fn problem() -> String {
    format!("failed {}", vendors::REFUSED.0)
}

/// Refuses the login of a stream from now on, and waits until the target has received that. The vendor accepts the
/// login when all faults end; the target must receive the end of the problem then.
///
/// The stream has failed until then, so the check for problems cannot find it in another state, such as late, in which
/// the problem would end without a message.
pub async fn refuse(site: &mut Site) -> anyhow::Result<Outcome> {
    let (connection, stream) = vendors::REFUSED;
    let aim = Aim::Stream(connection, stream);
    let url = site.server.url(DATABASE);
    if verify::has_failed(&url, connection, stream).await? {
        return Ok((Effect::None("the stream had failed already"), aim));
    }
    let refused = Fault::new(Match::endpoint(vendors::REFUSED_ENDPOINT), Action::Unauthorized);
    site.control().mischief(refused.times(u32::MAX));
    let deadline = Instant::now() + FAILS_WITHIN;
    while !verify::has_failed(&url, connection, stream).await? && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    // Otherwise the daemons check every 30 s.
    site.check_now(0).await?;
    let deadline = Instant::now() + NOTIFIED_WITHIN;
    while !site.target.knows_of(&problem()) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(500)).await;
        site.send_now().await?;
    }
    Ok((Effect::Complete, aim))
}
