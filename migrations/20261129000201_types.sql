-- Columns that were text become what their vendors say of them: minutes, flags and times of Lexer's SLA file, and the time at
-- which a conversation of Khoros was closed. A value that is not understood is kept in `_extra` under the vendor's name.
-- Where something depends on a column (a view, usually), it stays text for as long, and a warning says what to do.

create function pg_temp.as_instant(value text, zone text) returns timestamptz language plpgsql as $$
begin
    if value ~ '^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?$' then
        return (replace(value, ',', '.') || zone)::timestamptz;
    elsif value ~ '^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)? ?(Z|z|UTC|[+-]\d{2}(:?\d{2})?)$' then
        return replace(value, ',', '.')::timestamptz;
    end if;
    return null;
exception when others then
    return null;
end
$$;

create function pg_temp.as_double(value text) returns double precision language plpgsql as $$
begin
    return case when value ~ '^-?\d+(\.\d+)?([eE][+-]?\d+)?$' then value::double precision end;
exception when others then
    return null;
end
$$;

create function pg_temp.as_flag(value text) returns boolean language sql as $$
    select case
        when lower(btrim(value)) in ('true', 't', 'yes', 'y', '1') then true
        when lower(btrim(value)) in ('false', 'f', 'no', 'n', '0') then false
    end
$$;

-- Gives a column its type, unless it has it or is gone. `converted` is the new value as SQL.
create function pg_temp.retype(relation regclass, column_name text, field text, kind text, converted text)
returns void language plpgsql as $$
begin
    if not exists (
        select
        from pg_attribute
        where attrelid = relation and attname = column_name and not attisdropped and atttypid <> kind::regtype
    ) then
        return;
    end if;
    execute format(
        'update %1$s set _extra = coalesce(_extra, ''{}'') || jsonb_build_object(%3$L::text, %2$I::text)
        where btrim(%2$I::text) <> '''' and (%4$s) is null',
        relation, column_name, field, converted
    );
    execute format('alter table %s alter column %I type %s using (%s)', relation, column_name, kind, converted);
exception when feature_not_supported or dependent_objects_still_exist or datatype_mismatch or undefined_function then
    raise warning 'column % of % keeps its type, for something depends on it', column_name, relation
        using hint = format(
            'Drop the view, run: alter table %s alter column %I type %s using nullif(btrim(%I::text), '''')::%s; then create the view again.',
            relation, column_name, kind, column_name, kind
        );
end
$$;

do $$
declare
    wanted record;
begin
    for wanted in
        select *
        from (values
            ('last_action_date_utc', 'Last Action Date (UTC)', 'timestamptz', 'pg_temp.as_instant(btrim(%I::text), ''Z'')'),
            ('customer_wait_time_min', 'Customer Wait Time (min)', 'double precision', 'pg_temp.as_double(btrim(%I::text))'),
            ('in_queue_min', 'In Queue (min)', 'double precision', 'pg_temp.as_double(btrim(%I::text))'),
            ('agent_response_time_min', 'Agent Response Time (min)', 'double precision', 'pg_temp.as_double(btrim(%I::text))'),
            ('within_customer_sla', 'Within Customer SLA', 'boolean', 'pg_temp.as_flag(%I::text)'),
            ('within_agent_sla', 'Within Agent SLA', 'boolean', 'pg_temp.as_flag(%I::text)'),
            ('customer_publish_date_utc', 'Customer Publish Date (UTC)', 'timestamptz', 'pg_temp.as_instant(btrim(%I::text), ''Z'')'),
            ('agent_reponse_date_utc', 'Agent Reponse Date (UTC)', 'timestamptz', 'pg_temp.as_instant(btrim(%I::text), ''Z'')')
        ) as columns (name, field, kind, converted)
    loop
        perform pg_temp.retype(
            'lexer.mention_sla_export', wanted.name, wanted.field, wanted.kind, format(wanted.converted, wanted.name)
        );
    end loop;
end
$$;

do $$
declare
    spelling text;
begin
    -- How the data spelt the field of the column that it made, if it made one.
    select field
    into spelling
    from tidegate.table_column
    where table_schema = 'khoros' and table_name = 'conversation' and column_name = 'closed_time';
    alter table khoros.conversation add column if not exists closed_time timestamptz;
    -- A time without a zone is local to an offset that is not known here, so it is kept as it is.
    perform pg_temp.retype(
        'khoros.conversation',
        'closed_time',
        coalesce(spelling, 'CLOSED_TIME'),
        'timestamptz',
        'pg_temp.as_instant(btrim(closed_time::text), null)'
    );
    -- The catalogue knows the column from now on.
    delete from tidegate.table_column
    where table_schema = 'khoros' and table_name = 'conversation' and column_name = 'closed_time';
end
$$;

comment on column khoros.conversation.closed_time is
    'When the conversation was closed; null while it is open, or where the export has no such metric';
