-- Keys of the mart name agents and conversations. Some vendors use an e-mail address or a telephone number as an id,
-- and such an id must not reach analysts within a key.

create function tidegate.pseudonym(salt text, id text) returns text
language sql immutable parallel safe
return left(encode(sha256(convert_to(salt || id, 'UTF8')), 'hex'), 24);
comment on function tidegate.pseudonym(text, text) is 'Stands for an id that may be contact data; cannot be reversed without the salt';

create function tidegate.agent_id(salt text, id text) returns text
language sql immutable parallel safe
return case when id like '%@%' then tidegate.pseudonym(salt, id) else id end;
comment on function tidegate.agent_id(text, text) is 'The id of an agent in keys: a pseudonym if it is an e-mail address';

create or replace function tidegate.person_key(salt text, identity text) returns text
language sql immutable parallel safe
return tidegate.pseudonym(
    salt, lower(trim(regexp_replace(identity collate "C", '\s+', ' ', 'g')) collate "default")
);

-- A view calls them with the rights of the role that queries it, and a server may grant nothing to everybody by default.
grant execute on function tidegate.pseudonym(text, text), tidegate.agent_id(text, text) to public;

comment on column tidegate.setting.value is 'The value; ledger_salt keys the hash that names a credential''s quota ledger, mart_salt the pseudonyms in the mart';
