-- What is wrong that is not about streams: one row per problem.
--
-- $1: what happened since then is new. $2: the targets of notifications. $3, $4: loops of processes, and the seconds
-- without success after which each fails.
select
    'schema' as "kind!",
    coalesce(change.connection || '/', '') || change.table_schema || '.' || change.table_name as "scope!",
    '' as "cause!",
    change.connection as "connection?",
    null as "job?",
    max(change.run_id) as "run_id?",
    1 as "streams!",
    format(
        '%s changed for new fields or values',
        case when count(*) = 1 then '1 column' else count(*) || ' columns' end
    ) as "summary!",
    'see the relation mart.schema_changes' as "hint?"
from tidegate.schema_change as change
where
    change.changed_at >= $1
    and change.change <> 'add_table'
    -- The columns that a first load creates are not a change.
    and change.changed_at > (
        select run.created_at + interval '1 day'
        from tidegate.run
        where run.connection = change.connection
        order by run.id
        limit 1
    )
group by change.connection, change.table_schema, change.table_name
union all
select
    'quota_refused',
    used.name,
    '',
    used.name,
    null,
    null,
    1,
    format(
        'the vendor refused a call although the quota `%s` had room; nothing is sent until %s UTC',
        min(quota.name),
        -- Rounded up: it is not over before.
        to_char(
            date_trunc('minute', max(quota.blocked_until) at time zone 'UTC' + interval '59.999999 seconds'),
            'YYYY-MM-DD HH24:MI'
        )
    ),
    'find out what else uses the credential, or lower the quota in the configuration'
from tidegate.quota_limit as quota
inner join tidegate.quota_ledger as ledger on quota.ledger_id = ledger.id
-- A ledger keeps the names of connections that were removed.
cross join lateral (
    select min(shared.name) as name
    from unnest(ledger.connections) as shared (name)
    where exists (select from tidegate.stream where stream.connection = shared.name and stream.jobs <> '{}')
) as used
where quota.blocked_until > now() and used.name is not null
group by used.name
union all
select
    'config_refused',
    'system',
    '',
    null,
    null,
    null,
    0,
    coalesce(
        (array_agg(newest.summary order by newest.id desc) filter (where newest.kind = 'reload_refused'))[1],
        'the configuration on disk is wrong'
    ),
    'run `tidegate check --offline`; until it finds no fault, the previous configuration stays in force'
from tidegate.instance
-- The event of a refusal names the first fault with its file and line. It may not be stored yet, or no longer.
left join lateral (
    select event.id, event.kind, event.summary
    from tidegate.event
    where event.kind in ('reload', 'reload_refused') and event.actor = instance.owner
    order by event.id desc
    limit 1
) as newest
    on true
where instance.config_refused and instance.seen_at > now() - interval '1 minute'
having count(*) > 0
union all
select
    'stalled',
    'system',
    late.loop,
    null,
    null,
    null,
    0,
    format(
        'the periodic work `%s` has not succeeded for too long in %s',
        late.loop,
        case when count(*) = 1 then 'a process' else count(*) || ' processes' end
    ),
    'see the log; `/healthz` and the page System have the age of each loop'
from tidegate.instance
cross join lateral jsonb_each(instance.loops) as age (loop, seconds)
inner join unnest($3::text[], $4::double precision[]) as late (loop, seconds) on age.loop = late.loop
where instance.seen_at > now() - interval '1 minute' and age.seconds::double precision > late.seconds
group by late.loop
union all
select
    'push_unknown',
    batch.job,
    '',
    min(batch.connection),
    batch.job,
    null,
    0,
    format(
        'the response to %s was lost, so it is not known whether the vendor accepted the records',
        case when count(*) = 1 then 'a batch' else count(*) || ' batches' end
    ),
    format('ask the vendor; to send them again, run `tidegate push %s --resend`', batch.job)
from tidegate.push_batch as batch
where batch.state = 'unknown'
group by batch.job
union all
select
    'notify_stuck',
    message.target,
    '',
    null,
    null,
    null,
    0,
    format(
        '%s to the target could not be delivered (%s)',
        case when count(*) = 1 then 'a message' else count(*) || ' messages' end,
        coalesce(max(message.outcome), 'it is being sent again')
    ),
    format('run `tidegate notify test %s`', message.target)
from tidegate.notification as message
where
    message.target = any($2)
    and message.kind <> 'test'
    and (
        (message.state = 'due' and (message.outcome is not null or message.attempts > 1))
        or (
            message.state = 'given_up'
            and not exists (
                select
                from tidegate.notification as later
                where
                    later.target = message.target
                    and later.state = 'sent'
                    and later.sent_at > message.due_at
            )
        )
    )
group by message.target
