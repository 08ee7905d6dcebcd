-- Khoros Care Analytics Reports: one table per export, and the list of teams (vendors/khoros_care.md §5, §6). No column of
-- an export is documented, so the tables get theirs as the files show them (tidegate.table_column, tidegate.schema_change).

create schema khoros;
comment on schema khoros is 'Exports of Khoros Care (khoros.com)';

create table khoros.conversation (
    _connection text not null,
    conversation_id text not null,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint conversation_pkey primary key (_connection, conversation_id)
);
comment on table khoros.conversation is 'A conversation that was created or closed in the window or is open now, as last reported (Raw Conversation)';
comment on column khoros.conversation.conversation_id is 'Id of the conversation; joins the exports of one conversation';

create table khoros.teams (
    _connection text not null,
    uuid text,
    team_id bigint not null,
    name text,
    description text,
    number_of_members bigint,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint teams_pkey primary key (_connection, team_id)
);
comment on table khoros.teams is 'A team of agents';
comment on column khoros.teams.uuid is 'Id of the team as a UUID';
comment on column khoros.teams.team_id is 'Id of the team, as exports are filtered by it';
comment on column khoros.teams.name is 'Name of the team';
comment on column khoros.teams.description is 'What the team is for';
comment on column khoros.teams.number_of_members is 'Members of the team, a count';
comment on column khoros.teams._deleted_at is 'Gone from the vendor''s list since then; null while it is listed';

create table khoros."user" (
    _connection text not null,
    _row_key uuid not null,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    _deleted_at timestamptz,
    constraint user_pkey primary key (_connection, _row_key)
);
comment on table khoros."user" is 'An agent''s account; total times are those of the 24 hours before the reading';
comment on column khoros."user"._deleted_at is 'Gone from the vendor''s list since then; null while it is listed';

do $$
declare
    export record;
begin
    -- Entities whose id is known to exist but not by name.
    for export in
        select *
        from (values
            ('incoming_post', 'A customer''s post that was received in the window (Raw Incoming Post)'),
            ('response', 'An agent''s response that was sent in the window (Raw Response)'),
            ('author', 'An author with a post in the window (Raw Author)')
        ) as listed (name, meaning)
    loop
        execute format(
            'create table khoros.%I (
                _connection text not null,
                _row_key uuid not null,
                _extra jsonb,
                _run_id bigint not null,
                _loaded_at timestamptz not null,
                constraint %I primary key (_connection, _row_key)
            )',
            export.name, export.name || '_pkey'
        );
        execute format('comment on table khoros.%I is %L', export.name, export.meaning);
    end loop;

    -- Rows of a window.
    for export in
        select *
        from (values
            ('conversation_actions', 'An action taken on a conversation in the window'),
            ('conversation_history_action', 'An action in a conversation''s history; the vendor stops at 500 actions of a conversation, 2,000 with raiselimit'),
            ('response_approval', 'A step in the approval of a response (Raw Response Approval)'),
            ('combined', 'A row of the combined raw export; what it is, is not documented'),
            ('raw_expert_help', 'A request for help (Raw Help Request)'),
            ('raw_agent_states', 'A state of an agent, or its change (Agent State)'),
            ('team_performance', 'An agent''s figures over the whole window (Raw Team Performance)'),
            ('team_performance_interval', 'An agent''s figures in one interval of the window (Team Performance Interval)')
        ) as listed (name, meaning)
    loop
        execute format(
            'create table khoros.%I (
                _connection text not null,
                _window_start timestamptz not null,
                _row_key uuid not null,
                _extra jsonb,
                _run_id bigint not null,
                _loaded_at timestamptz not null,
                constraint %I primary key (_connection, _window_start, _row_key)
            )',
            export.name, export.name || '_pkey'
        );
        execute format('comment on table khoros.%I is %L', export.name, export.meaning);
        execute format('comment on column khoros.%I._window_start is %L', export.name, 'Start of the slice that the row belongs to');
        execute format(
            'comment on column khoros.%I._row_key is %L',
            export.name, 'Hash of the record and of its place among identical records of the slice'
        );
    end loop;

    for export in
        select unnest(array['incoming_post', 'response', 'author', 'user']) as name
    loop
        execute format(
            'comment on column khoros.%I._row_key is %L',
            export.name, 'Hash of the record''s id, or of the whole record where it has no field of a known id''s name'
        );
    end loop;

    for export in
        select tablename as name from pg_tables where schemaname = 'khoros'
    loop
        execute format('comment on column khoros.%I._connection is %L', export.name, 'Connection that the row was read from');
        execute format(
            'comment on column khoros.%I._extra is %L',
            export.name, 'Fields without a column and values that do not fit theirs; null when none'
        );
        execute format('comment on column khoros.%I._run_id is %L', export.name, 'Run (tidegate.run.id) that last changed the row');
        execute format('comment on column khoros.%I._loaded_at is %L', export.name, 'When the row was last changed');
    end loop;
end
$$;

do $$
begin
    if exists (select from pg_roles where rolname = 'tidegate_reader') then
        grant usage on schema khoros to tidegate_reader;
        grant select on all tables in schema khoros to tidegate_reader;
        alter default privileges in schema khoros grant select on tables to tidegate_reader;
    end if;
end
$$;
