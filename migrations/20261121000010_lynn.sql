-- Lynn Reporting: one table per report (vendors/lynn.md §4). Only navigation_marks has documented columns; the others get
-- theirs as the data shows them (tidegate.table_column, tidegate.schema_change).

create schema lynn;
comment on schema lynn is 'Reports of Lynn (lynn.cx)';

create table lynn.navigation_marks (
    _connection text not null,
    _window_start timestamptz not null,
    _row_key uuid not null,
    "timestamp" timestamptz,
    session text,
    division text,
    channel_id text,
    report_environment text,
    intent text,
    mark_name text,
    mark_value text,
    _extra jsonb,
    _run_id bigint not null,
    _loaded_at timestamptz not null,
    constraint navigation_marks_pkey primary key (_connection, _window_start, _row_key)
);
comment on table lynn.navigation_marks is 'Navigation mark indicator (report A45EC705-6A38-426A-8D1F-9CAE4D311497)';
comment on column lynn.navigation_marks."timestamp" is 'When the mark was set; fractions past microseconds are cut';
comment on column lynn.navigation_marks.session is 'Session id (GUID); joins the reports of one conversation';
comment on column lynn.navigation_marks.division is 'Division id; results are limited to the credential''s divisions';
comment on column lynn.navigation_marks.channel_id is 'Channel id, digits as text';
comment on column lynn.navigation_marks.report_environment is 'Environment the row comes from, e.g. testing';
comment on column lynn.navigation_marks.intent is 'Intent at the mark';
comment on column lynn.navigation_marks.mark_name is 'Name of the mark, e.g. END_SESSION';
comment on column lynn.navigation_marks.mark_value is 'Value of the mark, kept untrimmed';

do $$
declare
    report record;
begin
    for report in
        select *
        from (values
            ('show_dialogs', 'Table of available dialogs (report B0A26DFF-173F-4138-AB46-61273E52538A)'),
            ('menu_detail', 'Detail of chosen menu options (report 542B8262-14EB-4FEF-9873-93EC8B439FB7)'),
            ('show_error', 'Errors tied to an action (report 192D8D34-2BE0-477D-94EE-C5B3198B15D5)'),
            ('detail_performance', 'Service execution information (report CB7D310E-BF08-46ED-A5E9-24C744344018)'),
            ('productivity_detail', 'Audit of actions applied to a tenant''s flow (report 34175227-42BE-4A59-8B95-6F2EE6C14849)'),
            ('survey_result', 'Survey result detail (report 9C294B80-CCFF-44F7-B9D4-5909058D2513)'),
            ('current_interactions', 'Agent desk (Kyubo) indicators, typifications included (report 615DAD60-6EA5-4E19-AC37-5253170B86C0)'),
            ('navigation_marks', null)
        ) as listed (name, meaning)
    loop
        if report.meaning is not null then
            execute format(
                'create table lynn.%I (
                    _connection text not null,
                    _window_start timestamptz not null,
                    _row_key uuid not null,
                    _extra jsonb,
                    _run_id bigint not null,
                    _loaded_at timestamptz not null,
                    constraint %I primary key (_connection, _window_start, _row_key)
                )',
                report.name, report.name || '_pkey'
            );
            execute format('comment on table lynn.%I is %L', report.name, report.meaning);
        end if;
        execute format('comment on column lynn.%I._connection is %L', report.name, 'Connection that the row was read from');
        execute format('comment on column lynn.%I._window_start is %L', report.name, 'Start of the slice that the row belongs to');
        execute format(
            'comment on column lynn.%I._row_key is %L',
            report.name, 'Hash of the record and of its place among identical records of the slice'
        );
        execute format(
            'comment on column lynn.%I._extra is %L',
            report.name, 'Fields without a column and values that do not fit theirs; null when none'
        );
        execute format('comment on column lynn.%I._run_id is %L', report.name, 'Run (tidegate.run.id) that last changed the row');
        execute format('comment on column lynn.%I._loaded_at is %L', report.name, 'When the row was last changed');
    end loop;
end
$$;
