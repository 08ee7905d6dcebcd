-- What happens to whole tables is an event: a table was divided into partitions, or old rows of it were dropped.
comment on column tidegate.event.kind is 'problem, recovered, action, reload, reload_refused, table (it was divided into partitions, or old rows of it were dropped)';
