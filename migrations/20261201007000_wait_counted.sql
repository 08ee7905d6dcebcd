-- When a task that has waited for a limit goes on, its wait is counted in tidegate.quota_hour, and only once.

comment on column tidegate.task.waiting_since is
'When it last began to wait; null if it has waited for a limit and that is counted in quota_hour';
