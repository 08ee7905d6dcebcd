//! What the overview must say when all is well again.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use super::daemons::Handicap;
use super::site::{DATABASE, Site};
use super::target::Messages;
use super::vendors;
use super::verify::Finding;
use super::watch::{Watch, each, text};

/// How long two daemons may take to close every problem and to send every message, at most one per second each.
const WELL_WITHIN: Duration = Duration::from_mins(3);

impl Site {
    /// Lets a daemon check for problems now: it does so at its start.
    pub async fn check_now(&mut self, number: usize) -> anyhow::Result<()> {
        let mut conn = PgConnection::connect(&self.server.url(DATABASE)).await?;
        make_check_due(&mut conn).await?;
        conn.close().await?;
        self.last_look(number).await;
        self.daemons[number].kill_and_start(Handicap::None)
    }

    /// Sends now what the target has refused before.
    pub async fn send_now(&self) -> anyhow::Result<()> {
        let mut conn = PgConnection::connect(&self.server.url(DATABASE)).await?;
        send_at_once(&mut conn).await?;
        Ok(conn.close().await?)
    }

    /// Starts the daemons again, lets them check for problems, and reads the overview of each. `since`: every
    /// stream must be complete up to then, although a reading that the storm interrupted ends where it began.
    pub async fn is_well(&mut self, since: DateTime<Utc>) -> anyhow::Result<Vec<Finding>> {
        let url = self.server.url(DATABASE);
        let mut conn = PgConnection::connect(&url).await?;
        let deadline = Instant::now() + WELL_WITHIN;
        // The first check finds what happened since the last one. A problem is over at the second check that does not
        // find it, and some are over only after a day.
        for check in 0..3 {
            let before = make_check_due(&mut conn).await?;
            let count = self.daemons.len();
            let daemon = &mut self.daemons[check % count];
            if check < count {
                daemon.start_again(Handicap::None)?;
            } else {
                daemon.restart().await?;
            }
            while (checked_at(&mut conn).await? <= before || is_message_due(&mut conn).await?)
                && Instant::now() < deadline
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            if check == 0 {
                let_a_day_pass(&mut conn).await?;
            }
        }
        let mut findings = Vec::new();
        for number in 0..self.daemons.len() {
            let fault = loop {
                let fault = unwell(&self.watch, number, since).await;
                if fault.is_none() || Instant::now() > deadline {
                    break fault;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            };
            findings.push(Finding::new(format!("the overview of daemon {number} shows that all is well"), fault));
        }
        let unsent = loop {
            send_at_once(&mut conn).await?;
            let fault = self.not_received(&mut conn).await?;
            if fault.is_none() || Instant::now() > deadline {
                break fault;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        let problems = self.target.problems().len();
        findings.push(Finding::new(format!("the target received the end of each of {problems} problems"), unsent));
        findings.push(self.target.finding());
        conn.close().await?;
        Ok(findings)
    }

    /// A message that is not sent, or a problem whose end the target did not receive although it should have.
    async fn not_received(&self, conn: &mut PgConnection) -> anyhow::Result<Option<String>> {
        let unsent: Vec<String> = sqlx::query_scalar(
            "select concat_ws(' ', kind, state, outcome, attempts || ' attempts') from tidegate.notification
            where state <> 'sent' order by created_at",
        )
        .fetch_all(&mut *conn)
        .await?;
        if let Some(first) = unsent.first() {
            return Ok(Some(format!("{} messages are not sent: {first}", unsent.len())));
        }
        // A change of a table is over a day later.
        let unended: Vec<i64> =
            sqlx::query_scalar("select id from tidegate.problem where kind = 'schema'").fetch_all(conn).await?;
        let problems = self.target.problems();
        let open = problems.iter().find(|(id, of)| of.opened > of.recovered && !unended.contains(id));
        Ok(open.map(|(id, Messages { about, .. })| format!("the end of problem {id}, {about}, was not received")))
    }
}

/// Whether a daemon's overview shows something that is not well, in its own words.
async fn unwell(watch: &Watch, number: usize, since: DateTime<Utc>) -> Option<String> {
    let read = async {
        let overview = watch.document(number, "/overview").await?;
        if let Some(fault) = fault_of(&overview, since) {
            return Ok(Some(fault));
        }
        let (status, page) = watch.get(number, "/").await?;
        let says_nothing = page.contains("<p class=\"quiet\">Nothing.</p>");
        anyhow::Ok((status != 200 || !says_nothing).then(|| format!("the page has status {status} and needs somebody")))
    };
    read.await.unwrap_or_else(|error| Some(format!("{error:#}")))
}

/// What is not well in an overview.
fn fault_of(overview: &Value, since: DateTime<Utc>) -> Option<String> {
    if let Some(problem) = each(&overview["problems"]).next() {
        let (kind, scope, summary) = (text(&problem["kind"]), text(&problem["scope"]), text(&problem["summary"]));
        return Some(format!("{} problems, {kind} {scope}: {summary}", overview["problems_total"]));
    }
    let counts = || each(&overview["streams"]).map(|count| (text(&count["state"]), count["streams"].as_u64()));
    if let Some((state, streams)) = counts().find(|(state, streams)| *state != "on time" && *streams != Some(0)) {
        return Some(format!("{} streams are {state}", streams.unwrap_or_default()));
    }
    let streams = counts().find_map(|(state, streams)| streams.filter(|_| state == "on time"));
    if streams != Some(vendors::streams_total()) {
        return Some(format!("{streams:?} streams are on time, of {}", vendors::streams_total()));
    }
    for what in ["running_total", "waiting_total", "queued_total", "differences"] {
        if overview[what] != 0 {
            return Some(format!("{what} is {}", overview[what]));
        }
    }
    if overview["config_refused"] != false {
        return Some("the configuration is refused".to_owned());
    }
    each(&overview["connections"]).find_map(|connection| {
        let name = text(&connection["connection"]);
        let until = text(&connection["complete_until"]).parse::<DateTime<Utc>>().ok();
        if text(&connection["state"]) != "on time" {
            return Some(format!("{name} is {}", text(&connection["state"])));
        }
        let is_complete = until.map_or(vendors::WITHOUT_WINDOWS.contains(&name), |until| until >= since);
        if !is_complete {
            return Some(format!("{name} is complete until {}", connection["complete_until"]));
        }
        let blocked = &connection["fullest"]["blocked_until"];
        (!blocked.is_null()).then(|| format!("{name} may not be called until {blocked}"))
    })
}

/// Rejected records and changed tables are problems for a day after the last one.
async fn let_a_day_pass(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "update tidegate.problem set seen_last_at = seen_last_at - interval '2 days'
        where closed_at is null and kind in ('rejects', 'schema');
        update tidegate.run set finished_at = finished_at - interval '2 days'
        where id in (select run_id from tidegate.task where records_rejected > 0)",
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes the next look for problems due now. Returns when the last one was.
async fn make_check_due(conn: &mut PgConnection) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query("update tidegate.lock set done_at = done_at - interval '1 minute' where name = 'problem'")
        .execute(&mut *conn)
        .await?;
    checked_at(conn).await
}

async fn checked_at(conn: &mut PgConnection) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar("select max(done_at) from tidegate.lock where name = 'problem'").fetch_one(conn).await
}

async fn is_message_due(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    send_at_once(conn).await?;
    let due = "select exists (select from tidegate.notification where state = 'due')";
    sqlx::query_scalar(due).fetch_one(conn).await
}

/// A message whose process was killed is sent again when its lease ends, and a target that refused one is left alone
/// for a while. The storm does not wait for that.
async fn send_at_once(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "update tidegate.notification set due_at = now() where state = 'due' and due_at > now() + interval '5 s';
        update tidegate.notification_target set paused_until = null where paused_until > now() + interval '5 s'",
    )
    .execute(conn)
    .await?;
    Ok(())
}
