create or replace view mart.calendar as
select
    d::date as day,
    date_trunc('week', d)::date as week,
    date_trunc('month', d)::date as month,
    date_trunc('quarter', d)::date as quarter,
    extract(year from d)::int as year,
    extract(isodow from d)::int as weekday,
    trim(to_char(d, 'Day'))::text as weekday_name,
    (extract(isodow from d) > 5)::boolean as is_weekend,
    ((now() at time zone {timezone})::date - d::date)::integer as days_ago,
    (d::date = (now() at time zone {timezone})::date)::boolean as is_today
from generate_series(
    -- Conversations and customers may be older than the first day that is read.
    date_trunc(
        'year',
        (select coalesce(min(anchor), (now() at time zone {timezone})::date) from tidegate.stream)::timestamp
    ) - interval '1 year',
    (now() at time zone {timezone})::date::timestamp,
    interval '1 day'
) d;

comment on view mart.calendar is
    'One row per day of the business time zone, from the year before the first day that a job reads, to today. Key: day';
comment on column mart.calendar.day is 'Day in the business time zone (mart.timezone)';
comment on column mart.calendar.week is 'Monday of the week';
comment on column mart.calendar.month is 'First day of the month';
comment on column mart.calendar.quarter is 'First day of the quarter';
comment on column mart.calendar.year is 'Year';
comment on column mart.calendar.weekday is '1 (Monday) to 7 (Sunday)';
comment on column mart.calendar.weekday_name is 'English name of the weekday';
comment on column mart.calendar.is_weekend is 'Saturday or Sunday';
comment on column mart.calendar.days_ago is 'Days since then: 0 today, 1 yesterday, in the business time zone';
comment on column mart.calendar.is_today is 'Whether it is today in the business time zone';
