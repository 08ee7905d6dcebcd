//! Rows of the control tables that pages show, for the configuration of [`super::port`].

use sqlx::{AssertSqlSafe, PgPool};

/// Every page, with names that the story has.
pub const PAGES: [&str; 16] = [
    "/",
    "/streams",
    "/streams/acme-lynn/survey_result",
    "/jobs",
    "/jobs/lynn-hourly",
    "/runs",
    "/runs/1",
    "/quotas",
    "/connections",
    "/connections/acme-lynn",
    "/problems",
    "/events",
    "/rejects",
    "/schema",
    "/pushes",
    "/system",
];

/// Characters that could become markup, end an attribute, or turn text round.
pub const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u{202e}\u{1b}[31m";

/// One row of everything: all three streams are on time, and a run has succeeded.
const CALM: &str = "
    insert into tidegate.run (job, connection, kind, state, scheduled_for, created_at, started_at, finished_at)
    values ('lynn-hourly', 'acme-lynn', 'schedule', 'succeeded', '2026-01-05 03:15Z', '2026-01-05 03:15Z',
        '2026-01-05 03:15Z', '2026-01-05 03:16Z');
    insert into tidegate.task (run_id, stream, state, slices_planned, slices_done, pages, calls, bytes, rows_read,
        rows_inserted, records_rejected, started_at, finished_at)
    select 1, stream, 'succeeded', 3, 3, 3, 9, 1100000, 120, 120, 0, '2026-01-05 03:15Z', '2026-01-05 03:16Z'
    from unnest(array['survey_result', 'menu_detail', 'show_error']) as stream;
    insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
    select 'acme-lynn', stream, 'lynn', stream, current_date - 40, 'America/Santiago', '1d'
    from unnest(array['survey_result', 'menu_detail', 'show_error']) as stream;
    insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_run, finished_at, rows_total)
    select 'acme-lynn', stream, day, day + interval '1 day', least(day + interval '1 day', now()), 1,
        now() - interval '4 minutes', 100
    from unnest(array['survey_result', 'menu_detail', 'show_error']) as stream
    cross join generate_series((current_date - 40)::timestamp at time zone 'America/Santiago', now(), '1 day') as day;
    update tidegate.stream set jobs = '{lynn-hourly}', day_zone = 'America/Santiago', last_success_at = '2026-01-05 03:16Z',
        wanted_from = (current_date - 40)::timestamp at time zone 'America/Santiago',
        expected_after = '2026-01-05 03:16Z', expected_by = now() + interval '1 hour', expected_every_seconds = 3600;
    insert into tidegate.quota_ledger (key, connections) values ('key 1', '{acme-lynn}');
    insert into tidegate.quota_limit (ledger_id, name, unit, amount, per, reach, width)
    values (1, 'period_calls', 'calls', 10000, '12 hours', '12 hours', '1 hour');
    insert into tidegate.quota_use (limit_id, ends_at, used) values (1, now() + interval '1 hour', 8640);
    insert into tidegate.quota_hour (connection, hour, calls, bytes, waited_seconds, refused)
    select 'acme-lynn', date_trunc('hour', now()) - n * interval '1 hour', 10 * n, 1000 * n, n, 0
    from generate_series(1, 40) as n;
    insert into tidegate.event (at, kind, connection, stream, job, run_id, actor, summary)
    values ('2026-01-05 03:16Z', 'recovered', 'acme-lynn', 'survey_result', 'lynn-hourly', 1, 'ops', 'is on time again');
    insert into tidegate.rejected_record (run_id, connection, stream, window_start, reason, record, rejected_at)
    values (1, 'acme-lynn', 'survey_result', '2026-01-04', 'lacks its key', '{\"secret\": \"Juana\"}', '2026-01-05 03:16Z');
    insert into tidegate.schema_change (table_schema, table_name, column_name, change, new_type, changed_at)
    values ('lynn', 'survey_result', 'score', 'add_column', 'bigint', '2026-01-05 03:16Z');
    insert into tidegate.push_batch (job, connection, campaign_id, template_id, rows, state, created_at)
    values ('lynn-push', 'acme-lynn', 'c', 't', 500, 'done', '2026-01-05 03:16Z');
    insert into tidegate.instance (owner, jobs, seen_at, started_at, version, config_hash, loops)
    values ('host-1', '{lynn-hourly}', now(), '2026-01-05 03:15Z', '0.1.0', 'abcdef0123456789', '{\"enqueue\": 0.4}');
";

/// A refused credential, a gap, a run that is under way, one that waits, events with several links, and text that is
/// hostile.
const TROUBLE: &str = "
    delete from tidegate.slice where stream = 'survey_result' and window_start between now() - interval '12 days' and now() - interval '10 days';
    delete from tidegate.slice where stream = 'survey_result' and window_start between now() - interval '21 days' and now() - interval '20 days';
    update tidegate.stream set failures = 3, needs_operator = true, last_error = $$$hostile$$, last_error_at = now()
    where stream = 'menu_detail';
    update tidegate.stream set expected_by = now() - interval '1 hour' where stream = 'show_error';
    insert into tidegate.run (job, connection, kind, state, created_at, started_at, finished_at, error, hint, range_start, range_end)
    values ('lynn-hourly', 'acme-lynn', 'backfill', 'failed', '2026-01-05 03:15Z', '2026-01-05 03:15Z', '2026-01-05 03:16Z',
        $$$hostile$$, 'renew the token', '2026-01-01', '2026-01-03');
    insert into tidegate.task (run_id, stream, state, started_at, finished_at, records_rejected, error, hint)
    values (2, 'menu_detail', 'failed', '2026-01-05 03:15Z', '2026-01-05 03:16Z', 2, $$$hostile$$, 'renew the token');
    insert into tidegate.run (job, connection, kind, state, created_at, started_at, lease_until, owner)
    values ('lynn-hourly', 'acme-lynn', 'schedule', 'running', now(), now(), now() + interval '1 hour', 'host-1');
    insert into tidegate.task (run_id, stream, state, slices_planned, slices_done, rows_read, started_at)
    values (3, 'show_error', 'running', 12, 7, 1200000, now()), (3, 'survey_result', 'queued', 3, 0, 0, null);
    insert into tidegate.run (job, connection, kind, state, created_at, due_at)
    values ($$$hostile$$, 'acme-lynn', 'manual', 'waiting', now(), now() + interval '2 hours');
    insert into tidegate.task (run_id, stream, state, waiting_for, waiting_until)
    values (4, $$$hostile$$, 'waiting', 'quota period_calls', now() + interval '2 hours');
    insert into tidegate.run (job, connection, kind) values ('lynn-hourly', 'acme-lynn', 'manual');
    insert into tidegate.problem (kind, scope, connection, stream, job, run_id, streams, opened_at, summary, hint) values
    ('failed', 'acme-lynn', 'acme-lynn', null, null, 2, 2, '2026-01-05 03:16Z', $$$hostile$$, $$renew the token $hostile$$),
    ('gap', 'acme-lynn/survey_result', 'acme-lynn', 'survey_result', null, null, 1, '2026-01-05 03:16Z', '3 days are missing', null),
    ('config_refused', 'system', null, null, null, null, 1, '2026-01-05 03:16Z', 'the configuration on disk is wrong', null);
    update tidegate.problem set seen_first_at = opened_at;
    update tidegate.quota_limit set blocked_until = now() + interval '10 minutes';
    update tidegate.quota_hour set refused = 1 where hour > now() - interval '3 hours';
    insert into tidegate.event (kind, connection, stream, job, actor, summary)
    values ('failed', 'acme-lynn', $$$hostile$$, $$$hostile$$, $$$hostile$$, $$$hostile$$);
    insert into tidegate.rejected_record (run_id, connection, stream, window_start, reason, record)
    values (2, 'acme-lynn', 'survey_result', '2026-01-04', $$$hostile$$, '{}');
    insert into tidegate.schema_change (table_schema, table_name, column_name, change, old_type, new_type)
    values ('lynn', 'survey_result', $$$hostile$$, 'widen_column', $$$hostile$$, 'text');
    insert into tidegate.push_batch (job, connection, campaign_id, template_id, rows, state, error)
    values ($$$hostile$$, 'acme-lynn', 'c', 't', 500, 'unknown', $$$hostile$$);
    insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice, jobs)
    values ('acme-lynn', $$$hostile$$, 'lynn', $$$hostile$$, '2026-01-01', 'UTC', '1d', array[$$$hostile$$]);
    insert into tidegate.event (at, kind, connection, stream, job, run_id, actor, summary)
    select '2026-01-05 03:16Z', 'action', 'acme-lynn', stream, job, run, 'operator ana from 127.0.0.1',
        'began a run that reads again what was read before, because the vendor has corrected the totals of last year'
    from unnest(array['survey_result', null]) as stream
    cross join unnest(array['lynn-hourly', 'lynn-push']) as job
    cross join unnest(array[3, 5]) as run
    order by stream, job, run;
    update tidegate.instance set config_refused = true;
";

pub async fn calm(pool: &PgPool) {
    sqlx::raw_sql(CALM).execute(pool).await.unwrap();
}

/// Everything of [`calm`], and every kind of trouble. `text` is in every place that a vendor or an operator writes to.
pub async fn trouble(pool: &PgPool, text: &str) {
    calm(pool).await;
    sqlx::raw_sql(AssertSqlSafe(TROUBLE.replace("$hostile", text))).execute(pool).await.unwrap();
}
