-- Rows that a doubtful reading added do not count when the next reading is judged (promise 10).

alter table tidegate.slice
    add column reading_began_at timestamptz,
    add column held_base_at timestamptz;

comment on column tidegate.slice.reading_began_at is 'When the reading under way began';
comment on column tidegate.slice.held_base_at
is 'When the first doubtful reading of the hold began; rows that were written later do not count when readings are judged';
