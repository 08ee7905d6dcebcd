//! Queries on `tidegate.fingerprint`: which rows the table has of a slice.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::session::Deadline as _;
use crate::rows::fingerprint::{BatchFingerprint, Fingerprint};

/// The fingerprints of a batch, if they are kept.
pub async fn read(executor: impl PgExecutor<'_>, slice: i64, batch: u32) -> Result<Option<Fingerprint>, sqlx::Error> {
    let found = sqlx::query!(
        "select shape, row_keys, digests, gone from tidegate.fingerprint where slice_id = $1 and batch = $2",
        slice,
        number(batch),
    )
    .fetch_optional(executor)
    .in_time()
    .await?;
    Ok(found.map(|found| Fingerprint {
        shape: found.shape,
        keys: found.row_keys.iter().map(Uuid::as_u128).collect(),
        digests: found.digests.as_chunks().0.iter().map(|digest| u64::from_le_bytes(*digest)).collect(),
        gone: found.gone.iter().map(Uuid::as_u128).collect(),
    }))
}

/// Stores the fingerprints of a batch, in the transaction of its rows. Keys that are stored already are not written
/// again: they are two thirds of it.
pub async fn write(
    connection: &mut PgConnection,
    slice: i64,
    fingerprint: &BatchFingerprint,
) -> Result<(), sqlx::Error> {
    if !fingerprint.moved && write_digests(&mut *connection, slice, fingerprint).await? {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into tidegate.fingerprint (slice_id, batch, shape, row_keys, digests, gone)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (slice_id, batch) do update
        set shape = excluded.shape, row_keys = excluded.row_keys, digests = excluded.digests, gone = excluded.gone
        ",
        slice,
        number(fingerprint.batch),
        fingerprint.now.shape,
        &uuids(&fingerprint.now.keys),
        bytes(&fingerprint.now.digests),
        &uuids(&fingerprint.now.gone),
    )
    .execute(connection)
    .in_time()
    .await?;
    Ok(())
}

/// Stores what changed of a batch whose keys are those that are stored. Returns whether it has any.
async fn write_digests(
    connection: &mut PgConnection,
    slice: i64,
    fingerprint: &BatchFingerprint,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "
        update tidegate.fingerprint
        set shape = $3, digests = $4, gone = $5
        where slice_id = $1 and batch = $2
        ",
        slice,
        number(fingerprint.batch),
        fingerprint.now.shape,
        bytes(&fingerprint.now.digests),
        &uuids(&fingerprint.now.gone),
    )
    .execute(connection)
    .in_time()
    .await?;
    Ok(done.rows_affected() > 0)
}

fn uuids(keys: &[u128]) -> Vec<Uuid> {
    keys.iter().map(|key| Uuid::from_u128(*key)).collect()
}

fn bytes(digests: &[u64]) -> Vec<u8> {
    digests.iter().flat_map(|digest| digest.to_le_bytes()).collect()
}

/// Notes the rows of the first `batches` batches as seen, in place of their fingerprints. Returns how many there were.
pub async fn note_seen(executor: impl PgExecutor<'_>, slice: i64, batches: i32) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        insert into tidegate.seen_row (slice_id, row_key)
        select $1, seen.row_key
        from tidegate.fingerprint
        cross join lateral unnest(row_keys) as seen (row_key)
        where slice_id = $1 and batch < $2
        order by seen.row_key
        on conflict do nothing
        ",
        slice,
        batches,
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected())
}

/// Notes rows as seen that were left out because they did not change. Returns how many were not noted before.
pub async fn note_keys(executor: impl PgExecutor<'_>, slice: i64, keys: &[u128]) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        insert into tidegate.seen_row (slice_id, row_key)
        select $1, seen.row_key
        from unnest($2::uuid[]) as seen (row_key)
        order by seen.row_key
        on conflict do nothing
        ",
        slice,
        &uuids(keys),
    )
    .execute(executor)
    .in_time()
    .await?;
    Ok(done.rows_affected())
}

/// The rows that are in none of the `batches` batches of the reading.
pub async fn vanished(executor: impl PgExecutor<'_>, slice: i64, batches: i32) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select
            from tidegate.fingerprint
            where slice_id = $1 and (batch >= $2 or gone <> '{}')
        ) as "some!"
        "#,
        slice,
        batches,
    )
    .fetch_one(executor)
    .in_time()
    .await
}

/// Deletes batches beyond those of the reading that ends, and removes deleted rows from the others.
pub async fn settle(connection: &mut PgConnection, slice: i64, batches: i32) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from tidegate.fingerprint where slice_id = $1 and batch >= $2", slice, batches)
        .execute(&mut *connection)
        .in_time()
        .await?;
    sqlx::query!("update tidegate.fingerprint set gone = '{}' where slice_id = $1 and gone <> '{}'", slice)
        .execute(&mut *connection)
        .in_time()
        .await?;
    Ok(())
}

/// Deletes all fingerprints of a slice.
pub async fn forget(executor: impl PgExecutor<'_>, slice: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from tidegate.fingerprint where slice_id = $1", slice).execute(executor).in_time().await?;
    Ok(())
}

fn number(batch: u32) -> i32 {
    i32::try_from(batch).unwrap_or(i32::MAX)
}
