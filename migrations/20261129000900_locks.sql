-- What only Tidegate may lock. The keys of advisory locks are seen by every login, and any login may take them.

create table tidegate.lock (
    name text primary key
);

comment on table tidegate.lock is 'Rows that are locked while something happens that only one session may do; each stays for good';
comment on column tidegate.lock.name is 'What the lock is for, such as the structure of a table';
