-- Which processes work on which jobs, so that runs of a job that nobody has any more can end.

create table tidegate.instance (
    owner text not null,
    jobs text[] not null,
    seen_at timestamptz not null default now(),
    constraint instance_pkey primary key (owner)
);
comment on table tidegate.instance is 'Processes that work on runs; one that was not seen for a minute is gone';
comment on column tidegate.instance.owner is 'Host, process and start, as in tidegate.run.owner';
comment on column tidegate.instance.jobs is 'The jobs of its configuration';
comment on column tidegate.instance.seen_at is 'When it last said that it is alive';
