-- What is used of each limit, added up.
--
-- Pages and metrics show how much of every limit is used. With a hundred uses of each of 1,500 limits, adding them up
-- took most of the time of the overview. Statements of any kind that change tidegate.quota_use keep the sums.

create table tidegate.quota_spent (
    limit_id bigint not null,
    used bigint not null,
    first_ends_at timestamptz,
    last_ends_at timestamptz,
    constraint quota_spent_pkey primary key (limit_id),
    constraint quota_spent_limit_fkey foreign key (limit_id) references tidegate.quota_limit (id) on delete cascade
)
-- Each call changes its row; with room on the page, no index changes with it.
with (fillfactor = 50);
comment on table tidegate.quota_spent is 'What is used of each limit: the sum of its rows in tidegate.quota_use, kept by their triggers';
comment on column tidegate.quota_spent.limit_id is 'The limit';
comment on column tidegate.quota_spent.used is 'Units, including what no longer counts but was not yet deleted';
comment on column tidegate.quota_spent.first_ends_at is 'ends_at of the oldest use; null if there is none';
comment on column tidegate.quota_spent.last_ends_at is 'ends_at of the newest use; null if there is none';

create function tidegate.quota_use_changed()
returns trigger
language plpgsql
as $$
begin
    if tg_op = 'TRUNCATE' then
        delete from tidegate.quota_spent;
        return null;
    end if;
    -- The limit is gone if its uses are deleted with it, so nothing is inserted here.
    if tg_op <> 'INSERT' then
        update tidegate.quota_spent as spent
        set
            -- The sums are for pages and metrics: if they were wrong, no call must fail for it.
            used = greatest(spent.used - less.used, 0),
            first_ends_at = (select min(ends_at) from tidegate.quota_use where limit_id = spent.limit_id),
            last_ends_at = (select max(ends_at) from tidegate.quota_use where limit_id = spent.limit_id)
        from (select limit_id, sum(used)::bigint as used from changed_from group by limit_id) as less
        where spent.limit_id = less.limit_id;
    end if;
    if tg_op <> 'DELETE' then
        insert into tidegate.quota_spent as spent (limit_id, used, first_ends_at, last_ends_at)
        select limit_id, sum(used)::bigint, min(ends_at), max(ends_at)
        from changed_to
        group by limit_id
        order by limit_id
        on conflict (limit_id) do update
        set
            used = spent.used + excluded.used,
            first_ends_at = least(spent.first_ends_at, excluded.first_ends_at),
            last_ends_at = greatest(spent.last_ends_at, excluded.last_ends_at);
    end if;
    return null;
end
$$;
comment on function tidegate.quota_use_changed is 'Keeps tidegate.quota_spent';

create trigger quota_use_inserted after insert on tidegate.quota_use
referencing new table as changed_to
for each statement execute function tidegate.quota_use_changed();
create trigger quota_use_updated after update on tidegate.quota_use
referencing old table as changed_from new table as changed_to
for each statement execute function tidegate.quota_use_changed();
create trigger quota_use_deleted after delete on tidegate.quota_use
referencing old table as changed_from
for each statement execute function tidegate.quota_use_changed();
create trigger quota_use_truncated after truncate on tidegate.quota_use
for each statement execute function tidegate.quota_use_changed();

-- The triggers keep others from changing the uses until the end of this transaction.
insert into tidegate.quota_spent (limit_id, used, first_ends_at, last_ends_at)
select limit_id, sum(used)::bigint, min(ends_at), max(ends_at)
from tidegate.quota_use
group by limit_id;
