-- Lynn Outbound: three lists, and what `tidegate push` sent (vendors/lynn.md §6). Columns of the lists are not documented;
-- they come with the data (tidegate.table_column, tidegate.schema_change).

comment on schema lynn is 'Reports, campaigns and contacts of Lynn (lynn.cx)';

create table lynn.campaigns (
    _connection text not null,
    _row_key uuid not null,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint campaigns_pkey primary key (_connection, _row_key)
);
comment on table lynn.campaigns is 'Outbound campaigns of the tenant (GetCampaigns)';

create table lynn.contacts (
    _connection text not null,
    _row_key uuid not null,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint contacts_pkey primary key (_connection, _row_key)
);
comment on table lynn.contacts is 'Contacts of the tenant (GetContacts)';

create table lynn.dnd_contacts (
    _connection text not null,
    _row_key uuid not null,
    contact_id text,
    campaign_id text,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint dnd_contacts_pkey primary key (_connection, _row_key)
);
comment on table lynn.dnd_contacts is 'Blacklist: contacts that must not be disturbed, by campaign (GetDnDContact)';
comment on column lynn.dnd_contacts.contact_id is 'Contact that must not be disturbed; the id that the vendor was asked for';
comment on column lynn.dnd_contacts.campaign_id is 'Campaign that has the contact on its blacklist, under whatever name the vendor gives its id';

do $$
declare
    list record;
begin
    for list in
        select *
        from (values
            ('campaigns', 'Hash of the campaign''s id, or of the whole record where none is found'),
            ('contacts', 'Hash of the contact''s id, or of the whole record where none is found'),
            ('dnd_contacts', 'Hash of contact_id and campaign_id')
        ) as listed (name, key)
    loop
        execute format('comment on column lynn.%I._connection is %L', list.name, 'Connection that the row was read from');
        execute format('comment on column lynn.%I._row_key is %L', list.name, list.key);
        execute format(
            'comment on column lynn.%I._extra is %L',
            list.name, 'Fields without a column and values that do not fit theirs; null when none'
        );
        execute format('comment on column lynn.%I._run_id is %L', list.name, 'Run (tidegate.run.id) that last changed the row');
        execute format('comment on column lynn.%I._loaded_at is %L', list.name, 'When the row was last changed');
        execute format(
            'comment on column lynn.%I._deleted_at is %L',
            list.name, 'Gone from the vendor''s list since then; null while it is listed'
        );
    end loop;
    if exists (select from pg_roles where rolname = 'tidegate_reader') then
        grant select on lynn.campaigns, lynn.contacts, lynn.dnd_contacts to tidegate_reader;
    end if;
end
$$;

-- What was sent is written down before it leaves, so that a crash leaves a trace of every record that may have arrived.

create table tidegate.push_batch (
    id bigint generated always as identity,
    job text not null,
    connection text not null,
    campaign_id text not null,
    template_id text not null,
    rows bigint not null,
    state text not null default 'sending',
    task_id text,
    task_state text,
    error text,
    created_at timestamptz not null default clock_timestamp(),
    answered_at timestamptz,
    finished_at timestamptz,
    constraint push_batch_pkey primary key (id),
    constraint push_batch_rows_check check (rows > 0),
    constraint push_batch_state_check check (
        state in ('sending', 'sent', 'done', 'failed', 'refused', 'unknown', 'resent')
    )
);
create index push_batch_job_idx on tidegate.push_batch (job, id);
comment on table tidegate.push_batch is 'Calls of `tidegate push` that sent records to a campaign; what they held is not here';
comment on column tidegate.push_batch.id is 'Grows with time';
comment on column tidegate.push_batch.job is 'Name of the job in the configuration';
comment on column tidegate.push_batch.connection is 'Name of the connection in the configuration';
comment on column tidegate.push_batch.campaign_id is 'Campaign that the records were for';
comment on column tidegate.push_batch.template_id is 'Template that the records were for';
comment on column tidegate.push_batch.rows is 'How many records it holds';
comment on column tidegate.push_batch.state is 'sending (on its way), sent (taken; the load task runs), done, failed (the vendor says so), refused (not taken; its rows go again), unknown (the answer was lost; never sent again unless asked for), resent (unknown or failed, and its rows were let go again)';
comment on column tidegate.push_batch.task_id is 'The vendor''s load task; null when the answer named none';
comment on column tidegate.push_batch.task_state is 'What the vendor last said about the task';
comment on column tidegate.push_batch.error is 'Why it failed, was refused or is unknown, without credentials';
comment on column tidegate.push_batch.created_at is 'When it was written down, just before it left';
comment on column tidegate.push_batch.answered_at is 'When the vendor''s answer came';
comment on column tidegate.push_batch.finished_at is 'When it was known how it ended';

create table tidegate.push_row (
    job text not null,
    row_key uuid not null,
    batch_id bigint not null,
    constraint push_row_pkey primary key (job, row_key),
    constraint push_row_batch_fkey foreign key (batch_id) references tidegate.push_batch (id) on delete cascade
);
create index push_row_batch_idx on tidegate.push_row (batch_id);
comment on table tidegate.push_row is 'Rows that a job has sent: the key lets no two pushes send one row';
comment on column tidegate.push_row.job is 'Name of the job in the configuration';
comment on column tidegate.push_row.row_key is 'Salted hash of the columns that identify the row';
comment on column tidegate.push_row.batch_id is 'The batch that it went with';
