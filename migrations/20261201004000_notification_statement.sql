-- Processes with different targets of notifications on one database: one process checks for problems, and it writes the
-- messages to the targets of all of them. So each process states what its targets receive. Their URLs, headers and
-- secrets stay in its configuration, and it alone sends to them.
--
-- A statement counts for ten minutes after the process last repeated it, so that a target misses nothing while its only
-- process is started again.

create table tidegate.notification_statement (
    owner text not null,
    target text not null,
    format text not null,
    topics text[] not null,
    connections text[],
    jobs text[],
    repeat interval not null,
    stated_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp(),
    constraint notification_statement_pkey primary key (owner, target)
);
comment on table tidegate.notification_statement is 'What the configurations of the running processes say of each target of notifications';
comment on column tidegate.notification_statement.owner is 'The process, as in tidegate.instance';
comment on column tidegate.notification_statement.target is 'Name of the target in its configuration';
comment on column tidegate.notification_statement.format is 'Form of the messages: slack or cloudevents';
comment on column tidegate.notification_statement.topics is 'What the target receives: kinds of problems, recovered, run_finished and action';
comment on column tidegate.notification_statement.connections is 'The connections that the messages are about; null for all';
comment on column tidegate.notification_statement.jobs is 'The jobs that the messages are about; null for all';
comment on column tidegate.notification_statement.repeat is 'After how long the target receives a reminder of a problem that stays open';
comment on column tidegate.notification_statement.stated_at is 'Since when the process has stated this: its start, or when its configuration changed';
comment on column tidegate.notification_statement.seen_at is 'When the process last repeated it';

create view tidegate.notification_agreed as
select distinct on (stated.target)
    stated.target,
    stated.format,
    stated.topics,
    stated.connections,
    stated.jobs,
    stated.repeat
from tidegate.notification_statement as stated
-- A later time was stored while the clock was ahead.
where stated.seen_at between clock_timestamp() - interval '10 minutes' and clock_timestamp() + interval '10 minutes'
order by stated.target, stated.stated_at desc, stated.owner;
comment on view tidegate.notification_agreed is
'The targets to which messages are written: those that a process states, or stated in the last ten minutes. Of different statements of one target, the newest counts';
comment on column tidegate.notification_agreed.target is 'Name of the target';
comment on column tidegate.notification_agreed.format is 'Form of the messages';
comment on column tidegate.notification_agreed.topics is 'What the target receives';
comment on column tidegate.notification_agreed.connections is 'The connections that the messages are about; null for all';
comment on column tidegate.notification_agreed.jobs is 'The jobs that the messages are about; null for all';
comment on column tidegate.notification_agreed.repeat is 'After how long the target receives a reminder';
