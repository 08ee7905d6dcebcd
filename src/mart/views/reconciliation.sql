create or replace view mart.reconciliation as
with jaicp_bucket as (
    -- A bucket is in two slices if the length of slices has changed.
    select distinct on (v._connection, v.metric, v.bucket)
        v._connection as connection,
        v.metric,
        v.bucket as bucket_start,
        v.step::double precision * case v.interval_type when 'HOUR' then 3600 else 86400 end as seconds,
        v.value as vendor_total
    from jaicp.stats_series v
    where v.metric in ('messages', 'sessions') and v.label_id = 0 and v.interval_type in ('DAY', 'HOUR')
    order by v._connection, v.metric, v.bucket, v._window_start desc, v._loaded_at desc
),
jaicp_grid as (
    select distinct on (connection, metric) connection, metric, bucket_start, seconds
    from jaicp_bucket
    order by connection, metric, bucket_start desc
),
-- The days that the vendor leaves out, because it counted nothing. Each begins in a slice that was read.
jaicp_omitted as (
    select s.connection, m.metric, d as bucket_start, 86400::double precision as seconds, 0::double precision as vendor_total
    from tidegate.slice s
    inner join tidegate.stream t on t.connection = s.connection and t.stream = s.stream and t.table_schema = 'jaicp'
    cross join (values ('messages'), ('sessions')) as m (metric)
    left join jaicp_grid g on g.connection = s.connection and g.metric = m.metric
    cross join lateral (
        select
            extract(epoch from s.window_start)::double precision as window_start,
            coalesce(extract(epoch from g.bucket_start), 0)::double precision as phase
    ) e
    cross join lateral generate_series(
        to_timestamp(e.phase + 86400 * ceil((e.window_start - e.phase) / 86400)),
        least(s.read_until, s.window_end) - interval '1 day',
        interval '24 hours'
    ) d
    where s.stream = 'stats_series'
        and s.window_start > 'epoch'
        and s.finished_at <= now()
        and s.held_since is null
        and coalesce(g.seconds, 86400) = 86400
        and not exists (
            select
            from jaicp_bucket b
            where b.connection = s.connection and b.metric = m.metric and b.bucket_start = d
        )
),
lexer_slice as (
    select s.connection, s.stream, s.window_start, s.window_end
    from tidegate.slice s
    inner join tidegate.stream t on t.connection = s.connection and t.stream = s.stream and t.table_schema = 'lexer'
    where s.stream in ('summary', 'case_summary', 'nps_summary') and s.window_start > 'epoch' and s.finished_at <= now()
),
-- Without a row the vendor counted nothing.
lexer_total as (
    select
        coalesce(v._connection, s.connection) as connection,
        'mentions' as metric,
        coalesce(v._window_start, s.window_start) as bucket_start,
        coalesce(v.window_end, s.window_end) as bucket_end,
        s.window_end as slice_end,
        case when v._connection is null then 0 else v.total_volume end as vendor_total,
        'summary' as their_stream,
        'mention_sla_export' as our_stream
    from lexer.summary v
    full join (select * from lexer_slice where stream = 'summary') s
        on s.connection = v._connection and s.window_start = v._window_start
    union all
    select
        coalesce(v._connection, s.connection),
        'closed cases',
        coalesce(v._window_start, s.window_start),
        coalesce(v.window_end, s.window_end),
        s.window_end,
        case when v._connection is null then 0 else v.total_cases end,
        'case_summary',
        'case_details'
    from lexer.case_summary v
    full join (select * from lexer_slice where stream = 'case_summary') s
        on s.connection = v._connection and s.window_start = v._window_start
    union all
    select
        coalesce(v._connection, s.connection),
        m.metric,
        coalesce(v._window_start, s.window_start),
        coalesce(v.window_end, s.window_end),
        s.window_end,
        case
            when v._connection is null then 0
            when m.metric = 'nps answers' then v.received
            when m.metric = 'nps promoters' then v.promoters
            when m.metric = 'nps passives' then v.passives
            else v.detractors
        end,
        'nps_summary',
        'nps_submissions'
    from (
        select
            _connection,
            _window_start,
            max(window_end) as window_end,
            sum(total_received) as received,
            sum(total_promoters) as promoters,
            sum(total_passives) as passives,
            sum(total_detractors) as detractors
        from lexer.nps_summary
        group by _connection, _window_start
    ) v
    full join (select * from lexer_slice where stream = 'nps_summary') s
        on s.connection = v._connection and s.window_start = v._window_start
    cross join (values ('nps answers'), ('nps promoters'), ('nps passives'), ('nps detractors')) as m (metric)
),
total as (
    select
        'jaicp' as source,
        connection,
        metric,
        bucket_start,
        tidegate.time_after(bucket_start, seconds) as bucket_end,
        null::timestamptz as slice_end,
        vendor_total,
        'stats_series' as their_stream,
        metric as our_stream,
        true as is_same_slice,
        is_omitted
    from (
        select *, false as is_omitted from jaicp_bucket
        union all
        select *, true from jaicp_omitted
    ) j
    union all
    select
        'lexer',
        t.connection,
        t.metric,
        t.bucket_start,
        t.bucket_end,
        t.slice_end,
        t.vendor_total,
        t.their_stream,
        t.our_stream,
        -- Rows of an equal slice are counted as the vendor cut it. Others are counted by their times.
        exists (
            select
            from tidegate.slice o
            where o.connection = t.connection
                and o.stream = t.our_stream
                and o.window_start = t.bucket_start
                and o.window_end = t.slice_end
        ),
        false
    from lexer_total t
),
-- Texts are converted once, and not for each bucket: that takes most of the time.
answer as materialized (
    select _connection as connection, _window_start as window_start, answered_at, score
    from {{lexer.nps_submissions}} t
),
answered as materialized (
    select
        t.connection,
        t.bucket_start,
        count(*) as answers,
        count(*) filter (where a.score >= 9) as promoters,
        count(*) filter (where a.score >= 7 and a.score < 9) as passives,
        count(*) filter (where a.score < 7) as detractors
    from total t
    inner join tidegate.slice o on o.connection = t.connection
        and o.stream = t.our_stream
        and o.window_start < t.bucket_end
        and o.window_end > t.bucket_start
    inner join answer a on a.connection = o.connection and a.window_start = o.window_start
    where t.metric = 'nps answers'
        and (t.is_same_slice or (a.answered_at >= t.bucket_start and a.answered_at < t.bucket_end))
    group by t.connection, t.bucket_start
),
ended_case as materialized (
    select
        _connection as connection,
        coalesce(nullif(case_id, ''), _row_key::text) as id,
        coalesce(ended_at, tidegate.time_after(started_at, resolution_seconds)) as ended_at
    from {{lexer.case_details}} t
),
-- A case is reported in each slice in which something happened to it. The vendor counts it in each day on which it was
-- closed, so one that was reopened counts in each bucket in which any of its rows says that it was closed.
closed as (
    select c.connection, s.window_start as bucket_start, count(distinct c.id) as cases
    from ended_case c
    cross join lateral (
        select s.window_start, s.window_end
        from lexer_slice s
        where s.connection = c.connection and s.stream = 'case_summary' and s.window_start <= c.ended_at
        order by s.window_start desc
        limit 1
    ) s
    where c.ended_at < s.window_end
    group by c.connection, s.window_start
),
-- Connections whose rows do not have the times or scores that are counted.
unfit as materialized (
    select distinct _connection as connection, 'mentions' as metric, false as is_same_slice
    from lexer.mention_sla_export
    where customer_publish_date_utc is null
    union all
    select distinct n.connection, m.metric, m.is_same_slice
    from (
        select distinct connection, answered_at is null as lacks_time, score is null as lacks_score
        from answer
    ) n
    cross join (
        values
            ('nps answers', false), ('nps promoters', false), ('nps passives', false), ('nps detractors', false),
            ('nps promoters', true), ('nps passives', true), ('nps detractors', true)
    ) as m (metric, is_same_slice)
    where n.lacks_score or (n.lacks_time and not m.is_same_slice)
),
counted as (
    select
        t.*,
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
            when t.metric = 'mentions' and t.is_same_slice then (
                select count(*)
                from lexer.mention_sla_export m
                where m._connection = t.connection and m._window_start = t.bucket_start
            )
            when t.metric = 'mentions' then (
                select count(*)
                from lexer.mention_sla_export m
                where m._connection = t.connection
                    and m.customer_publish_date_utc >= t.bucket_start
                    and m.customer_publish_date_utc < t.bucket_end
            )
            when t.metric = 'closed cases' then coalesce(
                (select c.cases from closed c where c.connection = t.connection and c.bucket_start = t.bucket_start), 0
            )
            else coalesce(
                (
                    select
                        case t.metric
                            when 'nps answers' then a.answers
                            when 'nps promoters' then a.promoters
                            when 'nps passives' then a.passives
                            else a.detractors
                        end
                    from answered a
                    where a.connection = t.connection and a.bucket_start = t.bucket_start
                ),
                0
            )
        end as our_count
    from total t
    left join tidegate.stream ours on ours.connection = t.connection and ours.stream = t.our_stream
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
        t.*,
        -- Each stream was read through the whole bucket and after its end, whatever is missing or held elsewhere. A case
        -- that was closed in it is in the slice of that day, however old it is.
        (t.source <> 'lexer' or t.bucket_end = t.slice_end)
            and not exists (
                select
                from unfit u
                where u.connection = t.connection and u.metric = t.metric and u.is_same_slice = t.is_same_slice
            )
            and (t.metric <> 'closed cases' or t.vendor_total = 0 or exists (select from closed c where c.connection = t.connection))
            and (
                select bool_and(coalesce(c.is_read, false))
                from (
                    select
                        bool_and(s.held_since is null and s.finished_at >= t.bucket_end)
                            and sum(least(s.read_until, s.window_end, t.bucket_end) - greatest(s.window_start, t.bucket_start))
                            >= t.bucket_end - t.bucket_start as is_read
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
    from counted t
    where not t.is_omitted or t.our_count > 0
) r;

comment on view mart.reconciliation is
    'The vendor''s own totals beside our rows. Key: source, connection, metric, bucket_start. A difference other than 0 means that rows are missing or too many';
comment on column mart.reconciliation.source is 'Vendor: jaicp or lexer; Khoros and Lynn give no totals of their own';
comment on column mart.reconciliation.connection is 'Configured connection from which both figures were read';
comment on column mart.reconciliation.bucket_start is 'Start of the bucket that the vendor counted';
comment on column mart.reconciliation.bucket_end is 'End of the bucket, exclusive';
comment on column mart.reconciliation.day is 'Local date of the bucket''s start in the job''s time zone';
comment on column mart.reconciliation.metric is
    'messages, sessions (JAICP''s statistics); mentions, closed cases, nps answers, nps promoters, nps passives, nps detractors (Lexer''s summaries). Lexer''s number of open cases is not compared, since cases older than our rows may be among them';
comment on column mart.reconciliation.vendor_total is
    'Total that the vendor reports; 0 for a bucket that the vendor leaves out although we have rows';
comment on column mart.reconciliation.our_count is 'Rows in our tables for the same bucket';
comment on column mart.reconciliation.comparable is
    'Whether both tables were read through the whole bucket and after its end, with nothing held, and the rows have the times or scores that are counted';
comment on column mart.reconciliation.difference is 'our_count minus vendor_total; null where they are not comparable';
