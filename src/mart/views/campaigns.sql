create or replace view mart.campaigns as
with lynn as (
    select distinct on (_connection, id)
        'lynn' as source,
        _connection as connection,
        id,
        name,
        type,
        category,
        valid_until,
        _deleted_at,
        _loaded_at
    from {{lynn.campaigns}} t
    where id <> ''
    order by _connection, id, _deleted_at desc nulls first, _loaded_at desc
),
-- Batches of campaigns that are no longer listed, or whose list is not read, still count.
pushed as (
    select
        connection,
        campaign_id as id,
        min(created_at) as first_sent_at,
        sum(rows) filter (where state in ('sent', 'done')) as sent,
        sum(rows) filter (where state in ('failed', 'refused')) as failed,
        sum(rows) filter (where state in ('sending', 'unknown')) as unknown
    from tidegate.push_batch
    where state <> 'resent'
    group by connection, campaign_id
),
dnd as (
    select _connection as connection, campaign as id, count(*) as blacklisted
    from {{lynn.dnd_contacts}} t
    where campaign <> '' and _deleted_at is null
    group by _connection, campaign
),
-- JAICP reports outgoing calls and mailings as turns of sessions with the id of their task. A session is one call, or
-- one client of a mailing.
jaicp as (
    select
        'jaicp' as source,
        _connection as connection,
        call_task_id::text as id,
        min(first_sent_at) as first_sent_at,
        count(*) filter (where is_sent or is_answered) as sent,
        count(*) filter (where has_failed and not (is_sent or is_answered)) as failed,
        count(*) filter (where not (is_sent or is_answered or has_failed)) as unknown,
        count(*) filter (where is_answered) as answered,
        max(_loaded_at) as _loaded_at
    from (
        select
            _connection,
            call_task_id,
            min(tidegate.known_time("timestamp", _loaded_at)) as first_sent_at,
            coalesce(bool_or(lower(status) in ('sent', 'delivered', 'read', 'answered', 'success')), false) as is_sent,
            coalesce(
                bool_or(lower(status) in ('not_sent', 'not_delivered', 'failed', 'error', 'undelivered', 'rejected')), false
            ) as has_failed,
            coalesce(bool_or(question <> ''), false) as is_answered,
            max(_loaded_at) as _loaded_at
        from jaicp.messages
        where call_task_id is not null and not coalesce(is_call_incoming, false)
        group by _connection, call_task_id, project_short_name, session_id
    ) t
    group by _connection, call_task_id
)
select
    'lynn'::text as source,
    coalesce(l.connection, p.connection)::text as connection,
    p.first_sent_at::timestamptz as first_sent_at,
    ('lynn:' || coalesce(l.connection, p.connection) || ':' || coalesce(l.id, p.id))::text as campaign_key,
    coalesce(l.id, p.id)::text as campaign_id,
    l.name::text as name,
    l.type::text as type,
    l.category::text as category,
    l.valid_until::timestamptz as valid_until,
    (l.id is not null and l._deleted_at is null)::boolean as active,
    (case when b.connection is not null then coalesce(d.blacklisted, 0) end)::bigint as blacklisted,
    coalesce(p.sent, 0)::bigint as sent,
    coalesce(p.failed, 0)::bigint as failed,
    coalesce(p.unknown, 0)::bigint as unknown,
    null::bigint as answered,
    l._loaded_at::timestamptz as loaded_at
from lynn l
full join pushed p on p.connection = l.connection and p.id = l.id
left join dnd d on d.connection = coalesce(l.connection, p.connection) and d.id = coalesce(l.id, p.id)
-- Nobody is on a list that was not read.
left join (
    select connection from tidegate.stream where stream = 'dnd_contacts' and complete_until is not null
    union
    select connection from dnd
) b on b.connection = coalesce(l.connection, p.connection)
union all
select
    source,
    connection,
    first_sent_at,
    source || ':' || connection || ':' || id,
    id,
    null,
    'call task',
    null,
    null,
    null,
    null,
    sent,
    failed,
    unknown,
    answered,
    _loaded_at
from jaicp;

comment on view mart.campaigns is
    'One row per campaign (Lynn) and outgoing call task (JAICP, of which only the ids in its messages are known: a task without messages has no row). Key: campaign_key. Khoros and Lexer have no campaigns';
comment on column mart.campaigns.source is 'Vendor: lynn or jaicp';
comment on column mart.campaigns.connection is 'Configured connection from which the row was read, or to which batches were sent';
comment on column mart.campaigns.first_sent_at is 'First batch (Lynn) or call (JAICP); null if nothing was sent';
comment on column mart.campaigns.campaign_key is 'Unique: source:connection:campaign_id';
comment on column mart.campaigns.campaign_id is 'Id at the vendor';
comment on column mart.campaigns.name is 'Name of the campaign. Null for JAICP, whose messages have the task''s id only';
comment on column mart.campaigns.type is 'Type as the vendor names it; call task for JAICP';
comment on column mart.campaigns.category is 'Category of the campaign (Lynn)';
comment on column mart.campaigns.valid_until is 'End of the campaign (Lynn)';
comment on column mart.campaigns.active is 'Whether the vendor still lists the campaign. Null for JAICP, which has no list';
comment on column mart.campaigns.blacklisted is 'Contacts that must not be contacted for this campaign (Lynn). Null if the blacklist is not read, and for JAICP';
comment on column mart.campaigns.sent is 'Records that Lynn accepted from tidegate push; of JAICP sessions that a message with the task''s id reached: reported as sent, or answered. A session is a call, or a client of a mailing; ids are counted, since JAICP lists neither tasks nor whom they are meant for';
comment on column mart.campaigns.failed is 'Records that Lynn refused or that failed; sessions that JAICP reports as not reached';
comment on column mart.campaigns.unknown is 'Records or sessions whose outcome is not known';
comment on column mart.campaigns.answered is 'Of those in sent, how many got a reply from the client. Null for Lynn, whose reports do not tie replies to campaigns';
comment on column mart.campaigns.loaded_at is 'When Tidegate last changed the row; null for campaigns known from batches only';
