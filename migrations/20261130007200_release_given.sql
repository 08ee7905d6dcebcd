-- What a request id was used for, and who released held slices.

alter table tidegate.event
    add column request_digest bytea;
comment on column tidegate.event.request_digest is 'SHA-256 of the action with its names and fields: the same request id with another digest is refused; null for events of earlier versions';

alter table tidegate.slice
    add column released_at timestamptz,
    add column released_by text;
comment on column tidegate.slice.released_at is 'When the operator gave the last release; it is in force while released';
comment on column tidegate.slice.released_by is 'Who gave the last release';
