create or replace view mart.nps_days as
select
    'lexer'::text as source,
    n.connection::text as connection,
    n.day::date as day,
    n.form_id::bigint as form_id,
    coalesce(f.name, n.form_id::text)::text as form,
    n.nps_category::text as nps_category,
    tidegate.numeric_as_count(n.sent) as sent,
    tidegate.numeric_as_count(n.received) as received,
    tidegate.numeric_as_count(n.promoters) as promoters,
    tidegate.numeric_as_count(n.passives) as passives,
    tidegate.numeric_as_count(n.detractors) as detractors,
    (100.0 * (n.promoters - n.detractors) / nullif(n.received, 0))::double precision as nps,
    n._loaded_at::timestamptz as loaded_at
from (
    -- Slices shorter than a day are parts of it.
    select
        n._connection as connection,
        (n._window_start at time zone coalesce(s.timezone, 'UTC'))::date as day,
        n.form as form_id,
        n.nps_category,
        sum(n.total_sent) as sent,
        sum(n.total_received) as received,
        sum(n.total_promoters) as promoters,
        sum(n.total_passives) as passives,
        sum(n.total_detractors) as detractors,
        max(n._loaded_at) as _loaded_at
    from lexer.nps_summary n
    left join tidegate.stream s on s.connection = n._connection and s.stream = 'nps_summary'
    group by 1, 2, 3, 4
) n
left join lexer.forms f on f._connection = n.connection and f.id = n.form_id;

comment on view mart.nps_days is
    'One row per form and day, as the vendor counts them. Key: connection, day, form_id, nps_category. Over several days add the counts and compute the NPS from them';
comment on column mart.nps_days.source is 'Vendor: lexer, the only one that reports an NPS';
comment on column mart.nps_days.connection is 'Configured connection from which the row was read';
comment on column mart.nps_days.day is 'Day that the vendor counted, in the job''s time zone; the first day of the slice if that is longer';
comment on column mart.nps_days.form_id is 'Id of the form, as in lexer.forms';
comment on column mart.nps_days.form is 'Name of the form';
comment on column mart.nps_days.nps_category is 'Category that was asked for; all unless configured otherwise';
comment on column mart.nps_days.sent is 'Surveys sent';
comment on column mart.nps_days.received is 'Answers received';
comment on column mart.nps_days.promoters is 'Answers 9 and 10';
comment on column mart.nps_days.passives is 'Answers 7 and 8';
comment on column mart.nps_days.detractors is 'Answers 0 to 6';
comment on column mart.nps_days.nps is 'Net promoter score, -100 to 100; null without answers';
comment on column mart.nps_days.loaded_at is 'When Tidegate last changed the row';
