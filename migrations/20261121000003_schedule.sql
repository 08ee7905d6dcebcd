-- What a schedule must remember across restarts. A job is not its runs: it is known before its first run, and it must not
-- fire again when its last run has been pruned. The run table says what was enqueued; this one, from when firings count.

create table tidegate.job (
    name text not null,
    schedule text not null,
    timezone text not null,
    due_after timestamptz not null,
    first_seen_at timestamptz not null default now(),
    constraint job_pkey primary key (name)
);
comment on table tidegate.job is 'Every job with a schedule that a daemon has seen, and from when its firings count';
comment on column tidegate.job.name is 'Name of the job in the configuration';
comment on column tidegate.job.schedule is 'The cron expression that due_after belongs to; with a new one nothing is caught up';
comment on column tidegate.job.timezone is 'The IANA zone of the expression';
comment on column tidegate.job.due_after is 'Firings up to here are settled: enqueued, passed while paused, or before the job or its expression was known';
comment on column tidegate.job.first_seen_at is 'When the job was first seen';
