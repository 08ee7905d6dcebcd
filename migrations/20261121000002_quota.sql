-- The quota ledger: what each credential has used of its vendor's limits, shared by every process on this database.
--
-- The rule behind all of it (src/quota/window.rs says it in Rust, and a test holds the two together): what is used counts
-- until `reach` (the limit's period and a safety margin) after the end of the bucket it was used in. Small limits have
-- buckets of no width: exact send times. So no interval as long as the period ever holds more than the amount, whether
-- the vendor's windows slide or start anywhere.
--
-- Reserving is a function because it must be one round trip and one short transaction: a process that stops between
-- two statements would hold the lock that all replicas need. It is plpgsql because its statements must each see what was
-- committed before the lock was obtained; the CTEs of a single statement would all look at an older snapshot (as would
-- all statements of a transaction that is stricter than read committed: it is refused).
-- The plans never depend on the arguments, and making them anew would take longer than the work: hence plan_cache_mode.
-- `clock_timestamp()` after the lock is the only clock, so grants are recorded in the order in which they were given.

create table tidegate.quota_ledger (
    id bigint generated always as identity,
    key text not null,
    connections text[] not null default '{}',
    constraint quota_ledger_pkey primary key (id),
    constraint quota_ledger_key_key unique (key)
);
comment on table tidegate.quota_ledger is 'One credential at one base URL; its row is the lock of its limits';
comment on column tidegate.quota_ledger.id is 'Short name of the ledger';
comment on column tidegate.quota_ledger.key is 'Hash of base URL and credential, salted with the setting ledger_salt';
comment on column tidegate.quota_ledger.connections is 'Names of the connections that share it';

create table tidegate.quota_limit (
    id bigint generated always as identity,
    ledger_id bigint not null,
    name text not null,
    unit text not null,
    amount bigint not null,
    per interval not null,
    reach interval not null,
    width interval not null,
    blocked_until timestamptz,
    blocked_for interval,
    constraint quota_limit_pkey primary key (id),
    constraint quota_limit_name_key unique (ledger_id, name),
    constraint quota_limit_ledger_fkey foreign key (ledger_id) references tidegate.quota_ledger (id) on delete cascade,
    constraint quota_limit_unit_check check (unit in ('calls', 'bytes')),
    constraint quota_limit_amount_check check (amount > 0),
    constraint quota_limit_reach_check check (per > interval '0' and reach >= per and width >= interval '0')
);
comment on table tidegate.quota_limit is 'A limit in force: never more than amount within any per';
comment on column tidegate.quota_limit.id is 'Short name of the limit';
comment on column tidegate.quota_limit.ledger_id is 'The credential that it limits';
comment on column tidegate.quota_limit.name is 'Name in the configuration';
comment on column tidegate.quota_limit.unit is 'What is counted: calls or bytes';
comment on column tidegate.quota_limit.amount is 'How many of them';
comment on column tidegate.quota_limit.per is 'Within how long';
comment on column tidegate.quota_limit.reach is 'How long a use counts: per and a margin for the way to the vendor';
comment on column tidegate.quota_limit.width is 'Width of a bucket of tidegate.quota_use; 0: exact send times';
comment on column tidegate.quota_limit.blocked_until is 'The vendor said no until then, whatever is counted here';
comment on column tidegate.quota_limit.blocked_for is 'How long it was last blocked; grows while the vendor does not say';

create table tidegate.quota_use (
    limit_id bigint not null,
    ends_at timestamptz not null,
    used bigint not null,
    constraint quota_use_pkey primary key (limit_id, ends_at),
    constraint quota_use_limit_fkey foreign key (limit_id) references tidegate.quota_limit (id) on delete cascade,
    constraint quota_use_used_check check (used >= 0)
);
comment on table tidegate.quota_use is 'What was used of a limit and still counts: send times, or buckets of them';
comment on column tidegate.quota_use.limit_id is 'The limit';
comment on column tidegate.quota_use.ends_at is 'The send time, or the end of the bucket; counts until the limit''s reach after it';
comment on column tidegate.quota_use.used is 'Calls or bytes';

-- Unlogged: worthless after a crash, when everyone who waits asks again.
create unlogged table tidegate.quota_waiter (
    ledger_id bigint not null,
    waiter uuid not null,
    limit_ids bigint[] not null,
    bytes bigint not null,
    priority integer not null,
    due_at timestamptz not null,
    expected_at timestamptz not null,
    expires_at timestamptz not null,
    constraint quota_waiter_pkey primary key (ledger_id, waiter),
    constraint quota_waiter_ledger_fkey foreign key (ledger_id) references tidegate.quota_ledger (id) on delete cascade
);
comment on table tidegate.quota_waiter is 'Who was told to wait and will ask again; those who rank below leave them their share';
comment on column tidegate.quota_waiter.ledger_id is 'The ledger';
comment on column tidegate.quota_waiter.waiter is 'Who waits: one task of a run';
comment on column tidegate.quota_waiter.limit_ids is 'The limits that its call counts against';
comment on column tidegate.quota_waiter.bytes is 'Bytes that it expects to use';
comment on column tidegate.quota_waiter.priority is 'Higher goes first';
comment on column tidegate.quota_waiter.due_at is 'At equal priority the older goes first';
comment on column tidegate.quota_waiter.expected_at is 'When its call is expected to fit';
comment on column tidegate.quota_waiter.expires_at is 'Silent beyond this, it is taken for dead';

create function tidegate.quota_bucket_end(sent_at timestamptz, width interval) returns timestamptz
language sql stable parallel safe
return case
    when width = interval '0' then sent_at
    else date_bin(width, sent_at, timestamptz '1970-01-01 00:00:00+00') + width
end;
comment on function tidegate.quota_bucket_end is 'End of the bucket that a time falls into; the time itself where buckets have no width';

create function tidegate.quota_reserve(
    ask_ledger bigint,
    ask_limits bigint[],
    ask_bytes bigint,
    ask_waiter uuid,
    ask_priority integer,
    ask_due timestamptz,
    ask_now timestamptz default null
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

    if until_at is null then
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
    'One call, now or not: counted against its limits and granted, or told when to ask again; ask_now is for tests';

create function tidegate.quota_settle(
    ask_ledger bigint,
    ask_limits bigint[],
    ask_ends timestamptz[],
    ask_counted bigint[],
    ask_used bigint[],
    ask_sent timestamptz[]
)
returns timestamptz[]
language plpgsql
set plan_cache_mode = force_generic_plan
as $$
declare
    ends timestamptz[];
begin
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
    'Replaces what a reservation counted by what was used and when it left; returns where it is counted now';
