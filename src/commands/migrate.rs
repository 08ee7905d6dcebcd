//! `tidegate migrate`: brings the database to the version of the program.

use super::{Context, Exit, output};
use crate::app::owner;
use crate::mart;
use crate::store::migrate;

pub(crate) async fn run(context: Context) -> anyhow::Result<Exit> {
    let applied = context
        .with_database(async |database| {
            let applied = migrate::migrate(&database.pool, context.config.database.distribution).await?;
            let views = mart::Views::of(mart::Role::Migrate, &owner());
            views.refresh(&database.pool, &context.config.mart).await;
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
