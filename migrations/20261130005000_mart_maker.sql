-- Which settings and which version a view of the mart was made by. A process could only compare hashes of statements, so
-- it took a view with the settings of a process that had ended for one of another version, and left it.

alter table tidegate.mart_view
    add column revision bigint,
    add column version text;
comment on column tidegate.mart_view.revision is 'As in tidegate.mart_setting when it was made. Null if a version made it that did not record it';
comment on column tidegate.mart_view.version is 'The version of Tidegate that made it, with a hash of its templates. Null as in revision';
