create or replace view mart.campaign_pushes as
select
    'lynn'::text as source,
    b.connection::text as connection,
    b.created_at::timestamptz as sent_at,
    (b.created_at at time zone {timezone})::date as day,
    b.id::bigint as push_id,
    ('lynn:' || b.connection || ':' || b.campaign_id)::text as campaign_key,
    b.campaign_id::text as campaign_id,
    b.template_id::text as template_id,
    b.job::text as job,
    b.rows::bigint as rows,
    (case
        when b.state in ('sent', 'done') then 'sent'
        when b.state in ('failed', 'refused') then 'failed'
        when b.state = 'resent' then 'resent'
        else 'unknown'
    end)::text as outcome,
    b.state::text as state,
    b.finished_at::timestamptz as finished_at
from tidegate.push_batch b;

comment on view mart.campaign_pushes is 'One row per batch of records that tidegate push sent to Lynn. Key: push_id';
comment on column mart.campaign_pushes.source is 'Vendor: lynn';
comment on column mart.campaign_pushes.connection is 'Configured connection to which the batch was sent';
comment on column mart.campaign_pushes.sent_at is 'When the batch was sent';
comment on column mart.campaign_pushes.day is 'Local date of sent_at in the business time zone (mart.timezone)';
comment on column mart.campaign_pushes.push_id is 'Unique number of the batch';
comment on column mart.campaign_pushes.campaign_key is 'The campaign, as in mart.campaigns';
comment on column mart.campaign_pushes.campaign_id is 'Campaign at the vendor';
comment on column mart.campaign_pushes.template_id is 'Template at the vendor';
comment on column mart.campaign_pushes.job is 'Job that sent the batch';
comment on column mart.campaign_pushes.rows is 'Records in the batch';
comment on column mart.campaign_pushes.outcome is 'sent, failed, unknown, or resent (replaced by a later batch)';
comment on column mart.campaign_pushes.state is 'The exact state: sending, sent, done, failed, refused, unknown or resent';
comment on column mart.campaign_pushes.finished_at is 'When the outcome was known; null before';
