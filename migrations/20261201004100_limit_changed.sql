-- When a limit changed, and since when a task waits: a task that has waited since before asks the ledger again.

alter table tidegate.quota_limit add column changed_at timestamptz;
comment on column tidegate.quota_limit.changed_at is
'When it changed, its block was lifted or a connection left it; tasks that have waited for it since before ask again';

alter table tidegate.task add column waiting_since timestamptz;
comment on column tidegate.task.waiting_since is 'When it last began to wait';
