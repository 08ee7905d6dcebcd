-- Grants a little ahead of time.
--
-- A grant is a durable commit, and a call that is granted when it fits leaves when that commit is over: of a period of
-- 40 ms this is much. So whoever asks at most `ask_ahead` before its call fits is granted that moment, and waits for it by
-- itself. What is counted ahead of time counts as any other use, so the rule of the ledger holds whichever is granted first:
-- of the calls within a period, each was counted when the last of them was granted.

-- A word that a call used no more than was thought, or arrived no later, may get lost in a crash of the server: then it counts as
-- it did before. It does not wait for the disk, nor keep others waiting.

drop function tidegate.quota_reserve(bigint, bigint[], bigint, uuid, integer, timestamptz, timestamptz);
drop function tidegate.quota_settle(bigint, bigint[], timestamptz[], bigint[], bigint[], timestamptz[]);

create function tidegate.quota_reserve(
    ask_ledger bigint,
    ask_limits bigint[],
    ask_bytes bigint,
    ask_waiter uuid,
    ask_priority integer,
    ask_due timestamptz,
    ask_now timestamptz default null,
    ask_ahead interval default interval '0'
)
returns table (
    asked_at timestamptz,
    answered_at timestamptz,
    granted_ends timestamptz[],
    granted_units bigint[],
    expected_at timestamptz,
    again_at timestamptz,
    scarce text
)
language plpgsql
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    -- Nobody sleeps longer than this without asking again: estimates are settled, limits are changed and those
    -- who rank above give up in the meantime.
    again_max constant interval := interval '5 minutes';
    now_at timestamptz;
    until_at timestamptz;
    limit_name text;
    ends timestamptz[];
    counted bigint[];
    sleep interval;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'the quota ledger needs transactions that are read committed';
    end if;
    perform from tidegate.quota_ledger as ledger where ledger.id = ask_ledger for no key update;
    now_at := coalesce(ask_now, clock_timestamp());

    -- What no longer counts goes. A limit keeps at most 200 send times or about 100 buckets, so this is little work.
    delete from tidegate.quota_use as past
    using tidegate.quota_limit as l
    where l.id = any (ask_limits) and past.limit_id = l.id and past.ends_at <= now_at - l.reach;

    -- The limit that is short for longest, if any is.
    select l.name, greatest(fit.at, l.blocked_until)
    into limit_name, until_at
    from tidegate.quota_limit as l
    cross join lateral (
        select coalesce(sum(u.used), 0)::bigint as used, max(u.ends_at) as last
        from tidegate.quota_use as u
        where u.limit_id = l.id
    ) as spent
    -- What those want who rank above and whom a use of this limit would delay. Whoever waits for something else for
    -- longer than the use would count is not delayed by it.
    cross join lateral (
        select coalesce(sum(case l.unit when 'calls' then 1 else least(greatest(w.bytes, 1), l.amount) end), 0)::bigint as claimed
        from tidegate.quota_waiter as w
        where w.ledger_id = ask_ledger
            and w.expires_at > now_at
            and l.id = any (w.limit_ids)
            and w.expected_at < now_at + l.width + l.reach
            and (-w.priority::bigint, w.due_at, w.waiter) < (-ask_priority::bigint, ask_due, ask_waiter)
            and w.waiter <> ask_waiter
    ) as rivals
    -- How many units must be freed before this call fits. Every call takes a byte at least; an estimate beyond the
    -- whole limit counts as the whole.
    cross join lateral (
        select
            spent.used + rivals.claimed - l.amount
                + case l.unit when 'calls' then 1 else least(greatest(ask_bytes, 1), l.amount) end as over,
            greatest(l.amount, spent.used) as turn
    ) as short
    -- The time when that many are free: units are freed in the order of their use, then, after a whole turn of the
    -- limit, those that the rivals will have used by then.
    cross join lateral (
        select
            case
                when short.over > 0
                    then coalesce(freed.ends_at, greatest(now_at, spent.last))
                        + l.reach * (1 + (short.over - 1) / short.turn)
            end as at
        from (select (short.over - 1) % short.turn + 1 as units) as goal
        left join lateral (
            select running.ends_at
            from (
                select u.ends_at, sum(u.used) over (order by u.ends_at) as units
                from tidegate.quota_use as u
                where u.limit_id = l.id
            ) as running
            where short.over > 0 and running.units >= goal.units
            order by running.ends_at
            limit 1
        ) as freed on true
    ) as fit
    where l.id = any (ask_limits) and (fit.at > now_at or l.blocked_until > now_at)
    order by 2 desc, l.id
    limit 1;

    -- Whoever fits soon is granted that moment: what its commit takes is over when the moment comes.
    if until_at is null or until_at <= now_at + ask_ahead then
        now_at := coalesce(until_at, now_at);

        with need as (
            select
                l.id,
                tidegate.quota_bucket_end(now_at, l.width) as ends_at,
                case l.unit when 'calls' then 1 else least(greatest(ask_bytes, 1), l.amount) end as units
            from tidegate.quota_limit as l
            where l.id = any (ask_limits)
        ),
        used as (
            insert into tidegate.quota_use as u (limit_id, ends_at, used)
            select need.id, need.ends_at, need.units from need
            on conflict (limit_id, ends_at) do update set used = u.used + excluded.used
        )
        select array_agg(need.ends_at order by need.id), array_agg(need.units order by need.id)
        into ends, counted
        from need;

        delete from tidegate.quota_waiter as w
        where w.ledger_id = ask_ledger and (w.waiter = ask_waiter or w.expires_at <= now_at);

        return query
            select statement_timestamp(), now_at, ends, counted, null::timestamptz, null::timestamptz, null::text;
        return;
    end if;

    -- A refusal changes nothing that must survive a crash of the server: do not wait for the disk.
    perform set_config('synchronous_commit', 'off', true);
    delete from tidegate.quota_waiter as w where w.ledger_id = ask_ledger and w.expires_at <= now_at;
    sleep := least(until_at - now_at, again_max);
    insert into tidegate.quota_waiter as w
        (ledger_id, waiter, limit_ids, bytes, priority, due_at, expected_at, expires_at)
    -- Two seconds for the way back; up to ten after a long wait, when a worker must first be found again.
    values (
        ask_ledger, ask_waiter, ask_limits, ask_bytes, ask_priority, ask_due, until_at,
        now_at + sleep + interval '2 seconds' + least(sleep / 10, interval '8 seconds')
    )
    on conflict (ledger_id, waiter) do update
    set limit_ids = excluded.limit_ids,
        bytes = excluded.bytes,
        priority = excluded.priority,
        due_at = excluded.due_at,
        expected_at = excluded.expected_at,
        expires_at = excluded.expires_at;
    return query
        select
            statement_timestamp(), now_at, null::timestamptz[], null::bigint[], until_at, now_at + sleep, limit_name;
end
$$;
comment on function tidegate.quota_reserve is
    'One call, at answered_at or not: counted against its limits and granted, or told when to ask again; ask_now is for tests';

create function tidegate.quota_settle(
    ask_ledger bigint,
    ask_limits bigint[],
    ask_ends timestamptz[],
    ask_counted bigint[],
    ask_used bigint[],
    ask_sent timestamptz[],
    ask_lossy boolean default false
)
returns timestamptz[]
language plpgsql
set plan_cache_mode = force_generic_plan
as $$
declare
    ends timestamptz[];
begin
    -- Everyone who asks waits for this transaction.
    if ask_lossy then
        perform set_config('synchronous_commit', 'off', true);
    end if;
    perform from tidegate.quota_ledger as ledger where ledger.id = ask_ledger for no key update;

    update tidegate.quota_use as u
    set used = greatest(u.used - ask.counted, 0)
    from unnest(ask_limits, ask_ends, ask_counted) as ask (limit_id, ends_at, counted)
    join tidegate.quota_limit as l on l.id = ask.limit_id and l.ledger_id = ask_ledger
    where u.limit_id = ask.limit_id and u.ends_at = ask.ends_at;

    -- Later is the safe side: a use may move to a later bucket, never to an earlier one.
    with moved as (
        insert into tidegate.quota_use as u (limit_id, ends_at, used)
        select l.id, greatest(ask.ends_at, tidegate.quota_bucket_end(ask.sent_at, l.width)), ask.used
        from unnest(ask_limits, ask_ends, ask_used, ask_sent) as ask (limit_id, ends_at, used, sent_at)
        join tidegate.quota_limit as l on l.id = ask.limit_id and l.ledger_id = ask_ledger
        on conflict (limit_id, ends_at) do update set used = u.used + excluded.used
        returning u.limit_id, u.ends_at
    )
    select array_agg(moved.ends_at order by moved.limit_id) into ends from moved;
    return ends;
end
$$;
comment on function tidegate.quota_settle is
    'Replaces what a reservation counted by what was used and when it left; returns where it is counted now; lossy: a crash of '
    'the server may undo it';
