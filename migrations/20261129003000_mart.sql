-- What the views of the mart are made with. The views themselves are made by the program (src/mart), because they depend on
-- the columns that the data brought and on the configuration.

-- Conversions that never fail. They stand in views, so one odd value must not make a report fail: what cannot be converted
-- is null. The collation "C" makes the character classes those of ASCII, and the result independent of the column.

create function tidegate.text_as_time(value text) returns timestamptz
language sql stable parallel safe
return case
    when (value collate "C") ~ '^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?( ?(Z|UTC|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?))?)?$'
    then case
        -- The day exists in its month.
        when extract(
            month from make_date(substr(value, 1, 4)::int, substr(value, 6, 2)::int, 1) + (substr(value, 9, 2)::int - 1)
        ) = substr(value, 6, 2)::int
        then (
            case when (value collate "C") ~ '[T ].*(Z|UTC|[+-][0-9][0-9](:?[0-9][0-9])?)$' then value else value || ' UTC' end
        )::timestamptz
    end
end;
comment on function tidegate.text_as_time(text) is 'An ISO-8601 date or time, in UTC unless it states an offset; null if the text is none';

create function tidegate.number_as_time(value double precision) returns timestamptz
language sql immutable parallel safe
return case
    when value >= 1e8 and value < 1e11 then to_timestamp(value)
    when value >= 1e11 and value < 1e14 then to_timestamp(value / 1000)
end;
comment on function tidegate.number_as_time(double precision) is 'Seconds or milliseconds since 1970, told apart by their size; null if it is neither';

create function tidegate.text_as_number(value text) returns double precision
language sql immutable parallel safe
return case
    when (value collate "C") ~ '^ *[-+]?([0-9]{1,150}(\.[0-9]{0,99})?|\.[0-9]{1,99})([eE][-+]?[0-9]{1,2})? *$'
    then value::double precision
end;
comment on function tidegate.text_as_number(text) is 'A decimal number; null if the text is none';

create function tidegate.text_as_seconds(value text) returns double precision
language sql immutable parallel safe
return case
    when (value collate "C") ~ '^-?[0-9]{1,6}:[0-5]?[0-9]:[0-5]?[0-9](\.[0-9]{1,9})?$'
    then (case when value like '-%' then -1 else 1 end) * (
        ltrim(split_part(value, ':', 1), '-')::double precision * 3600
        + split_part(value, ':', 2)::double precision * 60
        + split_part(value, ':', 3)::double precision
    )
    else tidegate.text_as_number(value)
end;
comment on function tidegate.text_as_seconds(text) is 'A duration, written H:MM:SS or as a number of seconds; null if the text is none';

create function tidegate.numeric_as_number(value numeric) returns double precision
language sql immutable parallel safe
return case when abs(value) < 1e300 then round(value, 200)::double precision end;
comment on function tidegate.numeric_as_number(numeric) is 'The nearest double; null if the number is too large for one, NaN or infinite';

create function tidegate.sane_number(value double precision) returns double precision
language sql immutable parallel safe
return case when abs(value) < 1e18 then value end;
comment on function tidegate.sane_number(double precision) is 'The number, if sums and averages of such numbers stay finite; else null';

create function tidegate.sane_seconds(value double precision) returns double precision
language sql immutable parallel safe
return case when abs(value) < 1e10 then value end;
comment on function tidegate.sane_seconds(double precision) is 'The duration, if it is shorter than 317 years; else null';

create function tidegate.number_as_count(value double precision) returns bigint
language sql immutable parallel safe
return case when abs(value) < 9e18 then value::bigint end;
comment on function tidegate.number_as_count(double precision) is 'The nearest whole number; null if bigint does not hold it';

create function tidegate.numeric_as_count(value numeric) returns bigint
language sql immutable parallel safe
return case when abs(value) < 9e18 then value::bigint end;
comment on function tidegate.numeric_as_count(numeric) is 'The nearest whole number; null if bigint does not hold it';

create function tidegate.time_after(start timestamptz, seconds double precision) returns timestamptz
language sql immutable parallel safe
return case
    when abs(seconds) < 1e10 and start between '0001-01-01 00:00:00+00' and '9999-12-31 23:59:59+00'
    then start + make_interval(secs => seconds)
end;
comment on function tidegate.time_after(timestamptz, double precision) is 'The time so many seconds later; null if either is out of range';

create function tidegate.seconds_between(first timestamptz, last timestamptz) returns double precision
language sql immutable parallel safe
return case
    when isfinite(first) and isfinite(last) then (extract(epoch from last) - extract(epoch from first))::double precision
end;
comment on function tidegate.seconds_between(timestamptz, timestamptz) is 'Seconds from the first time to the last; null if either is infinite';

create function tidegate.may_read_contacts() returns boolean
language sql stable parallel safe
return
    exists (
        select from pg_catalog.pg_roles as role
        where role.rolname = 'tidegate_reader' and pg_catalog.pg_has_role(current_user, role.oid, 'member')
    )
    -- Tidegate's own login need not be a member of any role.
    or pg_catalog.has_table_privilege(current_user, 'tidegate.setting'::regclass, 'select');
comment on function tidegate.may_read_contacts() is 'Whether the current role may see contact data: members of tidegate_reader, and logins that may read this schema';

create function tidegate.person_key(salt text, identity text) returns text
language sql immutable parallel safe
return left(
    encode(sha256(convert_to(salt || lower(trim(regexp_replace(identity collate "C", '\s+', ' ', 'g')) collate "default"), 'UTF8')), 'hex'),
    24
);
comment on function tidegate.person_key(text, text) is 'Pseudonym of a person by e-mail address or name, the same in every system; cannot be reversed without the salt';

-- Views run them as whoever queries; servers may be set up to grant nothing to everybody.
grant execute on function
    tidegate.text_as_time(text),
    tidegate.number_as_time(double precision),
    tidegate.text_as_number(text),
    tidegate.text_as_seconds(text),
    tidegate.numeric_as_number(numeric),
    tidegate.sane_number(double precision),
    tidegate.sane_seconds(double precision),
    tidegate.number_as_count(double precision),
    tidegate.numeric_as_count(numeric),
    tidegate.time_after(timestamptz, double precision),
    tidegate.seconds_between(timestamptz, timestamptz),
    tidegate.may_read_contacts(),
    tidegate.person_key(text, text)
to public;

insert into tidegate.setting (name, value)
values ('mart_salt', gen_random_uuid()::text || gen_random_uuid()::text);
comment on column tidegate.setting.value is 'The value; ledger_salt keys the hash that names a credential''s quota ledger, mart_salt the pseudonyms of mart.agents and mart.customers';

create table tidegate.mart_view (
    name text not null,
    made_from text not null,
    definition text not null,
    made_at timestamptz not null,
    constraint mart_view_pkey primary key (name)
);
comment on table tidegate.mart_view is 'The views of the schema mart that the program made';
comment on column tidegate.mart_view.name is 'Name of the view';
comment on column tidegate.mart_view.made_from is 'Hash of the statements that made it';
comment on column tidegate.mart_view.definition is 'Hash of the view''s definition after it was made; another one now means that somebody changed it';
comment on column tidegate.mart_view.made_at is 'When it was made';

-- Questions ask for a range of time. BRIN indexes are small and cost next to nothing while rows are appended.
do $$
declare
    wanted record;
begin
    for wanted in
        select source.name, source.field
        from (
            values
                ('jaicp.messages', 'timestamp'),
                ('jaicp.sessions', 'start_time'),
                ('lynn.navigation_marks', 'timestamp'),
                ('lexer.mention_sla_export', 'customer_publish_date_utc')
        ) as source (name, field)
        inner join pg_catalog.pg_class as class on class.oid = to_regclass(source.name) and class.relkind in ('r', 'p')
        inner join pg_catalog.pg_attribute as attribute
            on
                attribute.attrelid = class.oid
                and attribute.attname = source.field
                and attribute.atttypid = 'timestamptz'::regtype
                and not attribute.attisdropped
    loop
        execute format('create index on %s using brin (%I) with (autosummarize = on)', wanted.name, wanted.field);
    end loop;
end
$$;

-- Which sessions reached an agent, and when: a small part of the messages, read from this index alone.
do $$
begin
    if to_regclass('jaicp.messages') is not null then
        create index messages_agent_idx on jaicp.messages
        (_connection, project_short_name, session_id, "timestamp", operator_info_id)
        where is_livechat or operator_info_id is not null;
    end if;
exception
    when undefined_column or duplicate_table then null;
end
$$;

-- One process at a time makes the views.
insert into tidegate.lock (name)
values ('mart')
on conflict do nothing;
