//! `tidegate migrate`: brings the database to the version of the program.

use super::{Context, Exit, output};
use crate::app::{owner, tables_without_index};
use crate::mart;
use crate::store::migrate;
use crate::store::trouble;

pub(crate) async fn run(context: Context) -> anyhow::Result<Exit> {
    let (applied, waiting) = context
        .with_database(async |database| {
            let applied = migrate::migrate(&database.pool, context.config.database.distribution).await?;
            let views = mart::Views::of(mart::Role::Migrate, &owner());
            views.refresh(&database.pool, &context.config.mart).await;
            let waiting = tables_without_index(&database.pool, &context.config).await.unwrap_or_else(|error| {
                tracing::warn!(error = trouble::chain(&error), "it is not known which tables lack their index by time");
                0
            });
            Ok((applied, waiting))
        })
        .await?;
    let text = match applied {
        0 => "the database is up to date\n".to_owned(),
        1 => "1 migration applied\n".to_owned(),
        applied => format!("{applied} migrations applied\n"),
    };
    let background = match waiting {
        0 => String::new(),
        1 => "1 table gets its index by time from the daemon, in the background\n".to_owned(),
        waiting => format!("{waiting} tables get their index by time from the daemon, in the background\n"),
    };
    output::print(&format!("{text}{background}"))?;
    Ok(Exit::Done)
}
