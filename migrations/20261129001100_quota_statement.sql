-- Of processes and connections that state different quotas for one credential, the tighter quota is in force.
--
-- Each running process keeps what it states; what follows is computed here and copied to tidegate.quota_limit, which the
-- reservations read. The smaller amount within the longer period is over neither quota, whatever their shapes.

create table tidegate.quota_statement (
    owner text not null,
    connection text not null,
    limit_id bigint not null,
    amount bigint not null,
    per interval not null,
    reach interval not null,
    width interval not null,
    constraint quota_statement_pkey primary key (owner, connection, limit_id),
    constraint quota_statement_owner_fkey foreign key (owner) references tidegate.instance (owner) on delete cascade,
    constraint quota_statement_limit_fkey foreign key (limit_id) references tidegate.quota_limit (id) on delete cascade,
    constraint quota_statement_amount_check check (amount > 0)
);
create index quota_statement_limit_idx on tidegate.quota_statement (limit_id);
comment on table tidegate.quota_statement is 'What the configurations of the running processes say of each limit';
comment on column tidegate.quota_statement.owner is 'The process, as in tidegate.instance';
comment on column tidegate.quota_statement.connection is 'The connection in its configuration';
comment on column tidegate.quota_statement.limit_id is 'The limit';
comment on column tidegate.quota_statement.amount is 'Calls or bytes, as in tidegate.quota_limit';
comment on column tidegate.quota_statement.per is 'Within how long';
comment on column tidegate.quota_statement.reach is 'How long a use would count by this statement alone';
comment on column tidegate.quota_statement.width is 'Width of the buckets by this statement alone';

create view tidegate.quota_agreed as
select
    stated.limit_id,
    min(stated.amount) as amount,
    max(stated.per) as per,
    max(stated.reach) as reach,
    -- Exact send times where any statement has them: the smaller amount is then small enough for them.
    case when min(stated.width) = interval '0' then interval '0' else max(stated.width) end as width
from tidegate.quota_statement as stated
inner join tidegate.instance as alive on stated.owner = alive.owner
where alive.seen_at > clock_timestamp() - interval '1 minute'
group by stated.limit_id;
comment on view tidegate.quota_agreed is
'The quota that follows from the statements of all running processes; limits that no running process states are absent';
comment on column tidegate.quota_agreed.limit_id is 'The limit';
comment on column tidegate.quota_agreed.amount is 'The smallest amount that is stated';
comment on column tidegate.quota_agreed.per is 'The longest period that is stated';
comment on column tidegate.quota_agreed.reach is 'How long a use counts';
comment on column tidegate.quota_agreed.width is 'Width of a bucket of tidegate.quota_use';
