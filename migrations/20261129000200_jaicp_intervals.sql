-- JAICP's statistics come by the interval that the connection names (`stats_interval`), no longer by days only.
comment on table jaicp.stats_series is 'The vendor''s statistics by interval, one row per metric, label and bucket';
comment on column jaicp.stats_series.interval_type is
    'Unit of a bucket''s length: HOUR, DAY, WEEK, MONTH, QUARTER or YEAR; switched_sessions are always counted by DAY';
