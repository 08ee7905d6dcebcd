-- The running processes and their jobs. A run is cancelled if no running process has its job in its configuration.

create table tidegate.instance (
    owner text not null,
    jobs text[] not null,
    seen_at timestamptz not null default now(),
    constraint instance_pkey primary key (owner)
);
comment on table tidegate.instance is 'Running processes; a process that was last seen over a minute ago has ended';
comment on column tidegate.instance.owner is 'Host, process and start, as in tidegate.run.owner';
comment on column tidegate.instance.jobs is 'The jobs in its configuration';
comment on column tidegate.instance.seen_at is 'When it last updated this row';
