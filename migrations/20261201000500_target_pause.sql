-- A target that did not accept a message receives nothing for a while, of any message.

alter table tidegate.notification_target add column paused_until timestamptz;
comment on column tidegate.notification_target.paused_until is 'Until when nothing is sent to it, because it asked to wait or did not accept a message; null since it accepted one';
