-- A reading may be doubtful for what it says of child tables (promise 10).

alter table tidegate.slice add column reading_doubt text;

comment on column tidegate.slice.reading_doubt is 'Why the reading under way keeps rows of child tables that it did not report';
