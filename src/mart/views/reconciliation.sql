create or replace view mart.reconciliation as
with total as (
    select
        'jaicp' as source,
        v._connection as connection,
        v.metric,
        v.bucket as bucket_start,
        tidegate.time_after(v.bucket, v.step::double precision * case v.interval_type when 'HOUR' then 3600 else 86400 end)
            as bucket_end,
        v.value as vendor_total,
        'stats_series' as their_stream,
        v.metric as our_stream
    from jaicp.stats_series v
    where v.metric in ('messages', 'sessions') and v.label_id = 0 and v.interval_type in ('DAY', 'HOUR')
    union all
    select 'lexer', _connection, 'mentions', _window_start, window_end, total_volume, 'summary', 'mention_sla_export'
    from lexer.summary
    union all
    select
        'lexer',
        _connection,
        'nps answers',
        _window_start,
        max(window_end),
        sum(total_received),
        'nps_summary',
        'nps_submissions'
    from lexer.nps_summary
    group by _connection, _window_start
),
-- Lexer's totals and rows belong to the same slices. Cases are left out: the summary counts those closed in a period, the
-- details list those that anything happened to.
lexer as (
    select 'mentions' as metric, _connection as connection, _window_start as bucket_start, count(*) as rows
    from lexer.mention_sla_export
    group by 2, 3
    union all
    select 'nps answers', _connection, _window_start, count(*)
    from lexer.nps_submissions
    group by 2, 3
)
select
    r.source::text as source,
    r.connection::text as connection,
    r.bucket_start::timestamptz as bucket_start,
    r.bucket_end::timestamptz as bucket_end,
    (r.bucket_start at time zone coalesce(r.timezone, 'UTC'))::date as day,
    r.metric::text as metric,
    r.vendor_total::double precision as vendor_total,
    r.our_count::double precision as our_count,
    coalesce(r.comparable, false)::boolean as comparable,
    (case when r.comparable then r.our_count - r.vendor_total end)::double precision as difference
from (
    select
        t.source,
        t.connection,
        t.metric,
        t.bucket_start,
        t.bucket_end,
        t.vendor_total,
        ours.timezone,
        case
            when t.metric = 'messages' then (
                select count(*)
                from jaicp.messages m
                where m._connection = t.connection and m."timestamp" >= t.bucket_start and m."timestamp" < t.bucket_end
            )
            when t.metric = 'sessions' then (
                select count(*)
                from jaicp.sessions s
                where s._connection = t.connection and s.start_time >= t.bucket_start and s.start_time < t.bucket_end
            )
            else coalesce(l.rows, 0)
        end as our_count,
        -- Each stream was read through the whole bucket, whatever is missing or held elsewhere.
        (t.source <> 'lexer' or theirs.slice = ours.slice)
            and (
                select bool_and(coalesce(c.is_read, false))
                from (
                    select
                        bool_and(s.held_since is null)
                            and sum(
                                least(s.read_until, s.window_end, t.bucket_end) - greatest(s.window_start, t.bucket_start)
                            ) >= t.bucket_end - t.bucket_start as is_read
                    from (values (t.their_stream), (t.our_stream)) as u (stream)
                    left join tidegate.slice s on s.connection = t.connection
                        and s.stream = u.stream
                        and s.window_start < t.bucket_end
                        and s.window_end > t.bucket_start
                        and s.read_until > t.bucket_start
                        and s.finished_at <= now()
                    group by u.stream
                ) c
            ) as comparable
    from total t
    left join lexer l on t.source = 'lexer'
        and l.metric = t.metric
        and l.connection = t.connection
        and l.bucket_start = t.bucket_start
    left join tidegate.stream theirs on theirs.connection = t.connection and theirs.stream = t.their_stream
    left join tidegate.stream ours on ours.connection = t.connection and ours.stream = t.our_stream
) r;

comment on view mart.reconciliation is
    'The vendor''s own totals beside our rows. Key: source, connection, metric, bucket_start. A difference other than 0 means that rows are missing or too many';
comment on column mart.reconciliation.source is 'Vendor: jaicp or lexer; Khoros and Lynn give no totals of their own';
comment on column mart.reconciliation.connection is 'Configured connection from which both figures were read';
comment on column mart.reconciliation.bucket_start is 'Start of the bucket that the vendor counted';
comment on column mart.reconciliation.bucket_end is 'End of the bucket, exclusive';
comment on column mart.reconciliation.day is 'Local date of the bucket''s start in the job''s time zone';
comment on column mart.reconciliation.metric is
    'messages, sessions (JAICP''s statistics); mentions, nps answers (Lexer''s summaries; its cases cannot be compared, since rows and totals are of different periods)';
comment on column mart.reconciliation.vendor_total is 'Total that the vendor reports';
comment on column mart.reconciliation.our_count is 'Rows in our tables for the same bucket';
comment on column mart.reconciliation.comparable is
    'Whether both tables were read through the whole bucket with nothing held and, for Lexer, by slices of the same length';
comment on column mart.reconciliation.difference is 'our_count minus vendor_total; null where they are not comparable';
