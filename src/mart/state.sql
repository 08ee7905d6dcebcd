-- Everything that decides whether a view must be made: the columns of the tables in $1, the views of the mart as they are and
-- as they were made ($2), the settings in force, whether this process may make them at all, and the tables that store rows. These are due after $3
-- seconds, and if slices were finished meanwhile, after $4 times as long as it took to compute them.
select jsonb_build_object(
    'writable', not pg_catalog.pg_is_in_recovery(),
    'applied', (select to_jsonb(setting) from tidegate.mart_in_force as setting),
    'newest_migration', (select max(version) from tidegate._sqlx_migrations),
    'analyst_reads_texts', exists (
        select
        from pg_catalog.pg_class as class
        cross join aclexplode(class.relacl) as acl
        inner join pg_catalog.pg_roles as role on role.oid = acl.grantee and role.rolname = 'tidegate_analyst'
        where class.oid = to_regclass('mart.messages_text')
    ),
    'tables', (
        select coalesce(jsonb_agg(
            jsonb_build_object(
                'schema', namespace.nspname,
                'name', class.relname,
                'columns', (
                    select coalesce(jsonb_agg(
                        jsonb_build_object(
                            'name', attribute.attname,
                            'kind', pg_catalog.format_type(attribute.atttypid, null),
                            'field', note.field,
                            'variant', note.variant,
                            'is_required', attribute.attnotnull
                        ) order by attribute.attnum
                    ), '[]')
                    from pg_catalog.pg_attribute as attribute
                    left join tidegate.table_column as note
                        on
                            note.table_schema = namespace.nspname
                            and note.table_name = class.relname
                            and note.column_name = attribute.attname
                    where attribute.attrelid = class.oid and attribute.attnum > 0 and not attribute.attisdropped
                )
            )
        ), '[]')
        from pg_catalog.pg_class as class
        inner join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
        where namespace.nspname || '.' || class.relname = any($1) and class.relkind in ('r', 'p', 'f', 'v', 'm')
    ),
    'views', (
        select coalesce(jsonb_agg(
            jsonb_build_object(
                'name', wanted.name,
                'made_from', made.made_from,
                'revision', made.revision,
                'version', made.version,
                'is_there', class.oid is not null,
                'is_unchanged', coalesce(made.definition = md5(pg_catalog.pg_get_viewdef(class.oid)), false)
            )
        ), '[]')
        from unnest($2::text[]) as wanted (name)
        left join tidegate.mart_view as made on made.name = wanted.name
        left join pg_catalog.pg_class as class
            on class.oid = to_regclass(format('mart.%I', wanted.name)) and class.relkind = 'v'
    ),
    'stored', (
        select coalesce(jsonb_agg(
            jsonb_build_object(
                'name', stored.name,
                'relation', stored.relation,
                'refreshed_at', stored.refreshed_at,
                'age_seconds', floor(extract(epoch from statement_timestamp() - stored.refreshed_at))::bigint,
                'is_read', exists (
                    select
                    from pg_catalog.pg_depend as depend
                    where
                        depend.refclassid = 'pg_catalog.pg_class'::regclass
                        and depend.refobjid = class.oid
                        and depend.classid = 'pg_catalog.pg_rewrite'::regclass
                ),
                'is_outdated', coalesce(stored.refreshed_at <= finished.newest, false),
                'is_due',
                stored.refreshed_at + $3 * interval '1 second' <= statement_timestamp()
                or (
                    coalesce(stored.refreshed_at <= finished.newest, false)
                    and stored.refreshed_at + $4 * stored.took_seconds * interval '1 second' <= statement_timestamp()
                )
            ) order by stored.refreshed_at, stored.name
        ), '[]')
        from tidegate.mart_table as stored
        inner join pg_catalog.pg_class as class
            on class.oid = to_regclass(format('tidegate.%I', stored.name)) and class.relkind = 'r'
        -- A slice is committed a moment after the time at which it was finished.
        cross join (
            select max(stream.last_finish_at) + interval '1 minute' as newest
            from tidegate.stream as stream
        ) as finished
    )
)
