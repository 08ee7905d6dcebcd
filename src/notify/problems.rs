//! The check for problems: they open and close, and the messages about them are written in the same transaction.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use sqlx::{Connection as _, PgConnection, PgPool};

use super::{Notifier, Timing, loops};
use crate::config::{Config, NotifyFormat, Target};
use crate::pulse::Loop;
use crate::store::activity::{self, Selection};
use crate::store::notification::{self, Kind, Received};
use crate::store::notification_statement::{self, Statement};
use crate::store::notification_target;
use crate::store::problem::{self, Change, Scope};
use crate::store::session::Deadline as _;
use crate::store::topic::Topic;
use crate::store::trouble::chain;
use crate::text;

/// How far before the last check runs count as new: their transactions may have been committed after it.
const OVERLAP: chrono::TimeDelta = chrono::TimeDelta::minutes(2);

impl Notifier {
    /// States the targets of this process, and checks everything that may be wrong. Returns whether it was this
    /// process's turn to check. If the check fails, that is recorded as a problem.
    pub async fn check(&self, pool: &PgPool, config: &Config) -> Result<bool, sqlx::Error> {
        let error = match self.state_and_check(pool, config).await {
            Ok(was_turn) => return Ok(was_turn),
            Err(error) => error,
        };
        let record = in_transaction(pool, async |transaction| self.record_failure(transaction, &error).await);
        if let Err(second) = record.await {
            // The database itself may be the reason, which probes and metrics show.
            tracing::debug!(error = chain(&second), "it could not be recorded that the check for problems failed");
        }
        Err(error)
    }

    async fn state_and_check(&self, pool: &PgPool, config: &Config) -> Result<bool, sqlx::Error> {
        let own: Vec<Statement> = config.notify.iter().map(statement).collect();
        // Separately: it is stated also if the check fails.
        let differing = in_transaction(pool, async |transaction| self.state(transaction, &own).await).await?;
        self.log_differing(differing.into_iter().collect());
        in_transaction(pool, async |transaction| self.check_all(transaction).await).await
    }

    /// States the targets of this process. Returns those that another process states differently.
    async fn state(&self, transaction: &mut PgConnection, own: &[Statement]) -> Result<Vec<String>, sqlx::Error> {
        notification_statement::state(&mut *transaction, &self.owner, own).await?;
        notification_statement::differing(transaction, &self.owner).await
    }

    fn log_differing(&self, differing: BTreeSet<String>) {
        let mut known = self.differing.lock().unwrap_or_else(PoisonError::into_inner);
        for target in differing.difference(&known) {
            tracing::warn!(
                target,
                process = self.owner,
                "another process has different settings for this target of notifications; the newest ones apply"
            );
        }
        for target in known.difference(&differing) {
            tracing::info!(target, "resolved: processes no longer have different settings for this target");
        }
        *known = differing;
    }

    async fn check_all(&self, transaction: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let Some(last_checked) = problem::take_turn(&mut *transaction, self.timing.check_every).await? else {
            return Ok(false);
        };
        let stated = notification_statement::agreed(&mut *transaction).await?;
        let targets: Vec<String> = stated.iter().map(|target| target.target.clone()).collect();
        let scope = Scope {
            patience: &self.timing.patience,
            since: last_checked - OVERLAP,
            group_from: self.timing.group_from,
            targets: &targets,
            loops: &loops(),
        };
        let changes = problem::check(&mut *transaction, &scope).await?;
        for change in &changes {
            let Change { kind, scope, summary, .. } = change;
            if !change.is_over {
                tracing::warn!(problem = change.id, kind, scope, "a problem opened: {}", text::plain(summary));
            } else if !change.is_silent {
                tracing::info!(problem = change.id, kind, scope, "a problem is over");
            }
        }
        notification_target::know(&mut *transaction, &targets).await?;
        for target in &stated {
            // Locks the target, so that no process claims a message to it until this is committed.
            self.write_activity(&mut *transaction, target).await?;
            self.write_messages(&mut *transaction, target, &changes).await?;
        }
        Ok(true)
    }

    /// Records that the check failed, and writes the messages about that.
    async fn record_failure(&self, transaction: &mut PgConnection, error: &sqlx::Error) -> Result<(), sqlx::Error> {
        let summary = format!("the check for problems fails: {}", chain(error));
        let delay = self.timing.delay(Topic::Stalled);
        let opened = problem::check_failed(&mut *transaction, Loop::Problems.name(), &summary, delay).await?;
        if let Some(change) = &opened {
            tracing::warn!(problem = change.id, kind = change.kind, "a problem opened: {}", text::plain(&summary));
        }
        let stated = notification_statement::agreed(&mut *transaction).await?;
        for target in &stated {
            self.write_messages(&mut *transaction, target, opened.as_slice()).await?;
        }
        Ok(())
    }

    /// Writes a message about runs that finished and actions, if the target receives these and there are any.
    async fn write_activity(&self, transaction: &mut PgConnection, target: &Statement) -> Result<(), sqlx::Error> {
        let Timing { lag, first, pause, .. } = self.timing;
        let new = activity::advance(&mut *transaction, &target.target, &selection(target), lag).await?;
        match new {
            Some(range) => activity::collect(transaction, &target.target, range, first, pause).await,
            None => Ok(()),
        }
    }

    /// Writes the messages to a target.
    async fn write_messages(
        &self,
        transaction: &mut PgConnection,
        target: &Statement,
        changes: &[Change],
    ) -> Result<(), sqlx::Error> {
        let ids = |is_wanted: &dyn Fn(&Change) -> bool| -> Vec<i64> {
            changes.iter().filter(|change| is_wanted(change)).map(|change| change.id).collect()
        };
        let opened = ids(&|change| !change.is_over && concerns(target, change));
        let over = ids(&|change| change.is_over);
        if !over.is_empty() {
            let received = notification::received(&mut *transaction, &target.target, &over).await?;
            // Reminders of what is over, and messages that were not sent yet.
            notification::withdraw(transaction, &target.target, &over).await?;
            let has_received = |change: &Change, is_merged: bool, is_accepted: bool| {
                let of_change = |one: &Received| one.id == change.id && one.is_accepted == is_accepted;
                let is_sent = !change.is_silent || target.format == NotifyFormat::Cloudevents.name();
                change.is_over && is_sent && change.is_merged == is_merged && received.iter().any(of_change)
            };
            if target.receives(Topic::Recovered.name()) {
                for (kind, is_merged) in [(Kind::Recovered, false), (Kind::Merged, true)] {
                    let accepted = ids(&|change| has_received(change, is_merged, true));
                    self.enqueue(transaction, target, kind, &accepted).await?;
                    let retried = ids(&|change| has_received(change, is_merged, false));
                    self.enqueue_later(transaction, target, kind, &retried).await?;
                }
            }
        }
        self.enqueue(transaction, target, Kind::Opened, &opened).await?;
        let open = notification::to_remind_of(&mut *transaction, &target.target, target.repeat()).await?;
        self.enqueue(transaction, target, Kind::Reminder, &open).await
    }

    /// Writes that problems are over whose first message is being retried. The message waits for that one, so nothing
    /// else is added to it.
    async fn enqueue_later(
        &self,
        transaction: &mut PgConnection,
        target: &Statement,
        kind: Kind,
        problems: &[i64],
    ) -> Result<(), sqlx::Error> {
        if problems.is_empty() || !is_collected(target) {
            return self.enqueue(transaction, target, kind, problems).await;
        }
        let pause = self.timing.first;
        notification::add_together(transaction, &target.target, kind, problems, pause).await
    }

    async fn enqueue(
        &self,
        transaction: &mut PgConnection,
        target: &Statement,
        kind: Kind,
        problems: &[i64],
    ) -> Result<(), sqlx::Error> {
        if problems.is_empty() {
            return Ok(());
        }
        if !is_collected(target) {
            return notification::add(transaction, &target.target, kind, problems).await;
        }
        let Timing { first, pause, .. } = self.timing;
        notification::collect(transaction, &target.target, problems, first, pause).await
    }
}

/// Works in a transaction, on a connection that is closed if the work fails: it may be silent.
async fn in_transaction<T>(
    pool: &PgPool,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let mut conn = pool.acquire().in_time().await?;
    let worked = async {
        let mut transaction = conn.begin().in_time().await?;
        let value = work(&mut transaction).await?;
        transaction.commit().in_time().await?;
        Ok(value)
    };
    let worked = worked.await;
    if worked.is_err() {
        conn.close_on_drop();
    }
    worked
}

/// What a target of the configuration receives.
pub(super) fn statement(target: &Target) -> Statement {
    let names = |names: &Option<BTreeSet<String>>| Some(names.as_ref()?.iter().cloned().collect());
    Statement {
        target: target.name.clone(),
        format: target.format.name().to_owned(),
        topics: target.on.iter().map(|topic| topic.name().to_owned()).collect(),
        connections: names(&target.connections),
        jobs: names(&target.jobs),
        repeat_seconds: target.repeat.as_secs_f64(),
    }
}

/// The runs and actions that a target receives.
pub(super) fn selection(target: &Statement) -> Selection {
    Selection {
        runs: target.receives(Topic::RunFinished.name()),
        actions: target.receives(Topic::Action.name()),
        connections: target.connections.clone(),
        jobs: target.jobs.clone(),
    }
}

/// Whether several problems are one message.
fn is_collected(target: &Statement) -> bool {
    target.format == NotifyFormat::Slack.name()
}

/// Whether a target receives messages about a problem. With `only`, it receives none about a problem of no connection
/// and no job.
fn concerns(target: &Statement, change: &Change) -> bool {
    if !target.receives(&change.kind) {
        return false;
    }
    // A target that does not accept messages would not accept one about this.
    if change.kind == Topic::NotifyStuck.name() && change.scope == target.target {
        return false;
    }
    let of_connection = target
        .connections
        .as_ref()
        .map(|names| change.connection.as_ref().is_some_and(|connection| names.contains(connection)));
    let of_job = target.jobs.as_ref().map(|names| change.jobs.iter().any(|job| names.contains(job)));
    match (of_connection, of_job) {
        (None, None) => true,
        (of_connection, of_job) => of_connection.unwrap_or(false) || of_job.unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn target(connections: Option<&str>, jobs: Option<&str>) -> Statement {
        let names = |name: &str| BTreeSet::from([name.to_owned()]);
        statement(&Target {
            name: "oncall".to_owned(),
            url: "https://hooks.example".into(),
            host: "hooks.example".to_owned(),
            format: NotifyFormat::Slack,
            on: BTreeSet::from([Topic::Failed, Topic::NotifyStuck]),
            connections: connections.map(names),
            jobs: jobs.map(names),
            headers: Vec::new(),
            secret: None,
            repeat: Duration::from_hours(24),
        })
    }

    fn change(kind: Topic, connection: Option<&str>, job: &str) -> Change {
        Change {
            id: 1,
            kind: kind.name().to_owned(),
            scope: "acme".to_owned(),
            connection: connection.map(str::to_owned),
            stream: None,
            job: None,
            run_id: None,
            summary: String::new(),
            is_over: false,
            is_silent: false,
            is_merged: false,
            jobs: vec![job.to_owned()],
        }
    }

    #[test]
    fn a_target_receives_the_problems_that_its_configuration_selects() {
        let failed = change(Topic::Failed, Some("acme"), "hourly");
        for (connections, jobs, is_wanted) in [
            (None, None, true),
            (Some("acme"), None, true),
            (Some("other"), None, false),
            (None, Some("hourly"), true),
            (None, Some("daily"), false),
            (Some("other"), Some("hourly"), true),
        ] {
            assert_eq!(concerns(&target(connections, jobs), &failed), is_wanted, "{connections:?} {jobs:?}");
        }
        assert!(!concerns(&target(None, None), &change(Topic::Late, Some("acme"), "hourly")));
        let mut stuck = change(Topic::NotifyStuck, None, "");
        assert!(concerns(&target(None, None), &stuck));
        assert!(!concerns(&target(Some("acme"), None), &stuck));
        stuck.scope = "oncall".to_owned();
        assert!(!concerns(&target(None, None), &stuck));
    }
}
