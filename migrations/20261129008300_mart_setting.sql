-- The settings by which all processes make the views of the mart, so that two configurations do not replace each other's
-- views.

create table tidegate.mart_setting (
    singleton boolean not null default true,
    settings jsonb not null,
    revision bigint not null,
    applied_by text not null,
    is_daemon boolean not null,
    applied_at timestamptz not null,
    constraint mart_setting_pkey primary key (singleton),
    constraint mart_setting_singleton_check check (singleton)
);
comment on table tidegate.mart_setting is 'One row: the settings (section mart of a configuration) that the views of the schema mart have';
comment on column tidegate.mart_setting.singleton is 'Always true, so that there is one row';
comment on column tidegate.mart_setting.settings is 'The settings, as in the configuration';
comment on column tidegate.mart_setting.revision is 'Grows when other settings are applied';
comment on column tidegate.mart_setting.applied_by is 'The process that applied them, or a daemon that took them over; of a daemon, as in tidegate.instance.owner';
comment on column tidegate.mart_setting.is_daemon is 'Whether that process is a daemon. While it runs, commands other than migrate leave its settings alone';
comment on column tidegate.mart_setting.applied_at is 'When they were applied';

create view tidegate.mart_in_force as
select
    setting.settings,
    setting.revision,
    setting.applied_by,
    setting.is_daemon,
    setting.applied_at,
    setting.is_daemon and exists (
        select
        from tidegate.instance as alive
        where alive.owner = setting.applied_by and alive.seen_at > clock_timestamp() - interval '1 minute'
    ) as is_held
from tidegate.mart_setting as setting;
comment on view tidegate.mart_in_force is 'The settings of tidegate.mart_setting, and whether a running daemon holds them';
comment on column tidegate.mart_in_force.settings is 'As in tidegate.mart_setting';
comment on column tidegate.mart_in_force.revision is 'As in tidegate.mart_setting';
comment on column tidegate.mart_in_force.applied_by is 'As in tidegate.mart_setting';
comment on column tidegate.mart_in_force.is_daemon is 'As in tidegate.mart_setting';
comment on column tidegate.mart_in_force.applied_at is 'As in tidegate.mart_setting';
comment on column tidegate.mart_in_force.is_held is 'Whether a daemon applied them that is still running';
