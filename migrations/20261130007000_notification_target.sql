-- What all processes know of each target of notifications: when it may receive the next message, and how the last
-- deliveries ended. Messages about runs that finished and about actions of operators cover a range of time.

create table tidegate.notification_target (
    target text not null,
    next_at timestamptz not null default clock_timestamp(),
    reported_until timestamptz not null default clock_timestamp(),
    sent_at timestamptz,
    failed_at timestamptz,
    failure text,
    constraint notification_target_pkey primary key (target)
);
comment on table tidegate.notification_target is 'The targets of notify to which messages were written';
comment on column tidegate.notification_target.target is 'Name of the target in the configuration';
comment on column tidegate.notification_target.next_at is 'When a process may send it the next message, at the earliest';
comment on column tidegate.notification_target.reported_until is 'Up to here, messages were written about runs that finished and about actions, if the target receives them';
comment on column tidegate.notification_target.sent_at is 'When it last accepted a message';
comment on column tidegate.notification_target.failed_at is 'When it last did not accept a message';
comment on column tidegate.notification_target.failure is 'Why it last did not accept a message: a status such as HTTP 500, or timeout; never the text of a response';

insert into tidegate.notification_target (target, sent_at)
select target, max(sent_at)
from tidegate.notification
group by target;

alter table tidegate.notification
    add column reported_from timestamptz,
    add column reported_until timestamptz;
comment on column tidegate.notification.kind is 'opened, recovered, reminder or test; digest is about several problems that opened, stay open or are over; activity is about runs that finished and actions';
comment on column tidegate.notification.problems is 'The problems that it is about';
comment on column tidegate.notification.reported_from is 'An activity message is about runs that finished and actions that were done after this time; null for others';
comment on column tidegate.notification.reported_until is 'The end of that time, included';

comment on column tidegate.problem.kind is 'failed, held, late, gap, quota_refused, rejects, schema, config_refused, push_unknown, notify_stuck or stalled';
comment on column tidegate.problem.cause is 'Hash of the error that several streams of the connection share, or the loop that is stalled; empty otherwise';
comment on column tidegate.problem.missed is 'Checks in a row that did not find it';
comment on column tidegate.problem.opened_at is 'When it had held for the delay of its kind; null before, while no message is sent';
comment on column tidegate.problem.muted_until is 'Until when no reminder of it is sent';
