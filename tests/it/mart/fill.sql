-- Fills a table with `amount` rows. Key columns differ in every row. The other columns have odd values of their type, or plain
-- ones that differ in every row.
create function public.fill(target regclass, amount integer, is_odd boolean) returns void
language plpgsql
as $$
declare
    names text;
    vals text;
begin
    select
        string_agg(quote_ident(a.attname), ', ' order by a.attnum),
        string_agg(
            case
                when a.attname = '_connection' then '''acme'''
                when a.attname = '_run_id' then '1'
                when a.attname = '_loaded_at' then 'now()'
                when a.attname = '_deleted_at' then 'null'
                when t = 'uuid' then 'gen_random_uuid()'
                when (a.attnum = any(k.conkey) or not is_odd) and t = 'text'
                    then format('''%s'' || i', case when a.attname like '%name' then 'Name ' else 'v' end)
                when (a.attnum = any(k.conkey) or not is_odd) and t = 'timestamptz'
                    then 'timestamptz ''2024-02-28T22:00:00Z'' + i * interval ''1 day'''
                when a.attnum = any(k.conkey) or not is_odd then
                    case t
                        when 'jsonb' then 'to_jsonb(i)' when 'bool' then 'i % 2 = 0'
                        when 'date' then 'date ''2024-02-28'' + i::int' else 'i' end
                else format('(%1$s)[(1 + (i * 7 + %2$s) %% array_length(%1$s, 1))::int]', o.list, a.attnum)
            end,
            ', ' order by a.attnum
        )
    into names, vals
    from pg_attribute a
    cross join lateral (select typname as t from pg_type where oid = a.atttypid) x
    cross join lateral (
        select case t
            when 'text' then $odd$array['', 'null', 'NaN', '-Infinity', '1e400', '0000-00-00', '2024-02-29T10:00:00.5Z', '2023-02-29',
                '2024-02-29 10:00:00', '99999999999999999999', '-1', '12:34:56', '99:99:99', '١٢', '12٫5', 'WhatsApp', E'a\nb', '0x10', 'closed',
                'end', '2024-13-01', '2024-01-01T25:00:00Z', ' 12 ', '1.5e-99', '9999-12-31T23:59:59-14:00', null, '{}', '''"; drop', 'LIKE', 'NPS', 'STARS']$odd$
            when 'timestamptz' then $odd$array['infinity', '-infinity', '0001-01-01', '9999-12-31 23:59:59+00', '2024-02-29', '294276-12-31', null]::timestamptz[]$odd$
            when 'timestamp' then $odd$array['infinity', '-infinity', '0001-01-01', '294276-12-31', '2024-02-29', null]::timestamp[]$odd$
            when 'date' then $odd$array['infinity', '-infinity', '0001-01-01', '9999-12-31', '2024-02-29', '5874897-12-31', null]::date[]$odd$
            when 'int8' then $odd$array[0, -1, 9223372036854775807, -9223372036854775808, 1709200000, 1709200000000, 12, null]::bigint[]$odd$
            when 'float8' then $odd$array['NaN', 'Infinity', '-Infinity', 1e308, -1e308, 1e-308, 0.5, 1709200000.5, null]::float8[]$odd$
            when 'numeric' then $odd$array['NaN', 'Infinity', '-Infinity', 1e400, -1e400, 1e-400, 0.50, 1709200000, null]::numeric[]$odd$
            when 'bool' then 'array[true, false, null]'
            when 'jsonb' then $odd$array['null', '1', '"2024-02-29T10:00:00Z"', '[]', '{"a": 1}', '1e400', '"x"', null]::jsonb[]$odd$
        end as list
    ) o
    left join pg_constraint k on k.conrelid = a.attrelid and k.contype = 'p'
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped;
    execute format('insert into %s (%s) select %s from generate_series(1::bigint, %s) i', target, names, vals, amount);
end
$$;
