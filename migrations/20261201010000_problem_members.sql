-- A stream stays in the problem of its connection until it is over itself, whatever its error is meanwhile, so a
-- problem names its streams. A problem that becomes part of another one names that one. Attempts to send a message that
-- a process did not finish do not count as failures of its target.

alter table tidegate.problem
    add column members text[],
    add column merged_into bigint;
comment on column tidegate.problem.members is 'The streams that it concerns, if it is one of several streams of a connection';
comment on column tidegate.problem.merged_into is 'Id of the problem that it became part of, if that is how it ended; null otherwise';

update tidegate.problem
set
    members = array(
        select stream.stream
        from tidegate.stream
        where
            stream.connection = problem.connection
            and stream.jobs <> '{}'
            and stream.last_error is not null
            and (
                problem.cause = ''
                or problem.cause = md5(regexp_replace(stream.last_error, '[0-9]+', '', 'g'))
            )
        order by stream.stream
    )
where
    problem.closed_at is null
    and problem.kind = 'failed'
    and problem.connection is not null
    and problem.stream is null;

alter table tidegate.notification add column failures integer not null default 0;
comment on column tidegate.notification.failures is 'How many attempts the target did not accept; other ones were cut off with their process';

update tidegate.notification
set failures = case when outcome is null then greatest(attempts - 1, 0) else attempts end
where state = 'due' and attempts > 0;

-- One test message to a target is due at a time.
update tidegate.notification as test
set state = 'given_up', outcome = 'replaced by a newer test'
where
    test.kind = 'test'
    and test.state = 'due'
    and exists (
        select
        from tidegate.notification as newer
        where
            newer.target = test.target
            and newer.kind = 'test'
            and newer.state = 'due'
            and (newer.created_at, newer.id) > (test.created_at, test.id)
    );
create unique index notification_test_key on tidegate.notification (target) where kind = 'test' and state = 'due';

comment on column tidegate.notification.kind is 'opened, recovered, merged, reminder or test; digest is about several problems that opened, stay open or are over; activity is about runs that finished and actions';
