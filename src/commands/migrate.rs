//! `tidegate migrate`: brings the database to the version of the program.

use super::{Context, Exit, output};
use crate::app::{keep_tables_up, owner};
use crate::mart;
use crate::store::migrate;
use crate::store::trouble;

pub(crate) async fn run(context: Context) -> anyhow::Result<Exit> {
    let applied = context
        .with_database(async |database| {
            let applied = migrate::migrate(&database.pool, context.config.database.distribution).await?;
            let views = mart::Views::of(mart::Role::Migrate, &owner());
            views.refresh(&database.pool, &context.config.mart).await;
            if let Err(error) = keep_tables_up(&database.pool, &context.config).await {
                let error = trouble::chain(&error);
                tracing::warn!(
                    error,
                    "tables did not get their index by time; a daemon, or the next `migrate`, tries again"
                );
            }
            Ok(applied)
        })
        .await?;
    let text = match applied {
        0 => "the database is up to date\n".to_owned(),
        1 => "1 migration applied\n".to_owned(),
        applied => format!("{applied} migrations applied\n"),
    };
    output::print(&text)?;
    Ok(Exit::Done)
}
