-- What pages, notifications and actions need: events for people, what is wrong now, messages that are due, quota use by
-- the hour, and more about each running process.

create table tidegate.event (
    id bigint generated always as identity,
    at timestamptz not null default clock_timestamp(),
    kind text not null,
    connection text,
    stream text,
    job text,
    run_id bigint,
    actor text,
    request uuid,
    summary text not null,
    constraint event_pkey primary key (id),
    constraint event_request_key unique (request)
);
create index event_at_idx on tidegate.event (at);
create index event_connection_idx on tidegate.event (connection, id desc);
create index event_kind_idx on tidegate.event (kind, id desc);
create index event_run_idx on tidegate.event (run_id) where run_id is not null;
comment on table tidegate.event is 'What happened, for people; append only, deleted after history.keep_events';
comment on column tidegate.event.id is 'Grows with time';
comment on column tidegate.event.at is 'When';
comment on column tidegate.event.kind is 'problem, recovered, action, reload, reload_refused, schema, rejects';
comment on column tidegate.event.connection is 'The connection, if it concerns one';
comment on column tidegate.event.stream is 'The stream, if it concerns one';
comment on column tidegate.event.job is 'The job, if it concerns one';
comment on column tidegate.event.run_id is 'The run, if it concerns one; it may have been pruned';
comment on column tidegate.event.actor is 'Who caused it: the operator of an action with the client address, or a process; null if nobody did';
comment on column tidegate.event.request is 'Id that a form or a client gave an action: a repeated one does nothing';
comment on column tidegate.event.summary is 'What happened, in a sentence, without vendor data or secrets';

create table tidegate.problem (
    id bigint generated always as identity,
    kind text not null,
    scope text not null,
    cause text not null default '',
    connection text,
    stream text,
    job text,
    run_id bigint,
    streams integer not null default 1,
    seen_first_at timestamptz not null default clock_timestamp(),
    seen_last_at timestamptz not null default clock_timestamp(),
    missed integer not null default 0,
    opened_at timestamptz,
    closed_at timestamptz,
    summary text not null,
    hint text,
    muted_until timestamptz,
    muted_by text,
    constraint problem_pkey primary key (id)
);
create unique index problem_unclosed_key on tidegate.problem (kind, scope, cause) where closed_at is null;
create index problem_connection_idx on tidegate.problem (connection, kind) where closed_at is null;
create index problem_closed_idx on tidegate.problem (closed_at) where closed_at is not null;
comment on table tidegate.problem is 'What is or was wrong: opened when a condition has held for the delay of its kind, closed when it has not held twice in a row';
comment on column tidegate.problem.id is 'Grows with time';
comment on column tidegate.problem.kind is 'failed, held, late, gap, quota_refused, rejects, schema, config_refused, push_unknown or notify_stuck';
comment on column tidegate.problem.scope is 'What it concerns: a connection, a connection and stream with a slash between, a job, a target, or system';
comment on column tidegate.problem.cause is 'Hash of the error that several streams of the connection share; empty otherwise';
comment on column tidegate.problem.connection is 'The connection, if it concerns one';
comment on column tidegate.problem.stream is 'The stream, if it concerns a single one';
comment on column tidegate.problem.job is 'The job, if it concerns one';
comment on column tidegate.problem.run_id is 'The newest run that has it, if known';
comment on column tidegate.problem.streams is 'How many streams it concerns';
comment on column tidegate.problem.seen_first_at is 'Since when the condition has held';
comment on column tidegate.problem.seen_last_at is 'When it last held';
comment on column tidegate.problem.missed is 'Looks in a row at which it did not hold';
comment on column tidegate.problem.opened_at is 'When it had held for the delay of its kind; null before, and nobody is told';
comment on column tidegate.problem.closed_at is 'When it was over';
comment on column tidegate.problem.summary is 'What is wrong, without vendor data or secrets';
comment on column tidegate.problem.hint is 'What to do';
comment on column tidegate.problem.muted_until is 'Until when nobody is reminded of it';
comment on column tidegate.problem.muted_by is 'Who muted it';

create table tidegate.notification (
    id uuid not null default gen_random_uuid(),
    target text not null,
    state text not null default 'due',
    kind text not null,
    problems bigint [] not null default '{}',
    body jsonb,
    attempts integer not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    due_at timestamptz not null default clock_timestamp(),
    sent_at timestamptz,
    outcome text,
    constraint notification_pkey primary key (id),
    constraint notification_state_check check (state in ('due', 'sent', 'given_up'))
);
create index notification_due_idx on tidegate.notification (due_at) where state = 'due';
create index notification_target_idx on tidegate.notification (target, created_at desc);
create index notification_problems_idx on tidegate.notification using gin (problems);
comment on table tidegate.notification is 'The outbox: messages to targets of notify, each sent at least once and always under the same id';
comment on column tidegate.notification.id is 'Id of the message, the same at each attempt';
comment on column tidegate.notification.target is 'Name of the target in the configuration; its URL is a secret';
comment on column tidegate.notification.state is 'due, sent or given_up';
comment on column tidegate.notification.kind is 'opened, recovered, reminder or test; digest tells of several problems that opened, stay open or are over';
comment on column tidegate.notification.problems is 'The problems that it tells of';
comment on column tidegate.notification.body is 'The document that is sent, written before the first attempt; null until then, while problems may be added';
comment on column tidegate.notification.attempts is 'How often it was sent';
comment on column tidegate.notification.created_at is 'When it was written';
comment on column tidegate.notification.due_at is 'When it is sent next, at the earliest';
comment on column tidegate.notification.sent_at is 'When the target accepted it';
comment on column tidegate.notification.outcome is 'Of the last attempt: a status such as HTTP 500, or timeout; never the text of a response';

alter table tidegate.lock add column done_at timestamptz;
comment on column tidegate.lock.done_at is 'When it was last done, if the next time depends on it';

create table tidegate.quota_hour (
    connection text not null,
    hour timestamptz not null,
    calls bigint not null default 0,
    bytes bigint not null default 0,
    waited_seconds double precision not null default 0,
    refused bigint not null default 0,
    constraint quota_hour_pkey primary key (connection, hour)
);
create index quota_hour_hour_idx on tidegate.quota_hour (hour);
comment on table tidegate.quota_hour is 'Use of quotas by the hour, which the ledger forgets; kept 90 days. A process that is killed loses its last seconds here, and never in the ledger';
comment on column tidegate.quota_hour.connection is 'The connection that used it';
comment on column tidegate.quota_hour.hour is 'Start of the hour';
comment on column tidegate.quota_hour.calls is 'Calls that were sent, logins and retries included';
comment on column tidegate.quota_hour.bytes is 'Bytes that were exchanged, uncompressed';
comment on column tidegate.quota_hour.waited_seconds is 'How long runs waited for limits, added up';
comment on column tidegate.quota_hour.refused is 'Calls that the vendor refused although the ledger had room';

alter table tidegate.instance
    add column version text,
    add column started_at timestamptz,
    add column config_hash text,
    add column config_refused boolean not null default false,
    add column loops jsonb;
comment on column tidegate.instance.version is 'Its version; null for a version before this column, and for commands';
comment on column tidegate.instance.started_at is 'When it started';
comment on column tidegate.instance.config_hash is 'Hash of the configuration in force, to see whether processes differ';
comment on column tidegate.instance.config_refused is 'Whether the configuration on disk is wrong, and the one before is in force';
comment on column tidegate.instance.loops is 'By loop: seconds since it last completed';

-- The last runs of a connection, for the last tasks of its streams.
create index run_connection_idx on tidegate.run (connection, id desc);
