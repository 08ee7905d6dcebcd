-- Some vendors use a telephone number as the id or name of an agent. As an e-mail address, it must not reach analysts.

create function tidegate.is_contact(id text) returns boolean
language sql immutable parallel safe
return id like '%@%'
    or length(id) > 7
    and (btrim(id, E' \t\r\n') collate "C") ~ '\+[[:space:]\u00A0.()-]*([0-9][[:space:]\u00A0.()-]*){7}|^(?=.*[[:space:]\u00A0.()-])[[:space:]\u00A0.()-]*([0-9][[:space:]\u00A0.()-]*){7,}$';
comment on function tidegate.is_contact(text) is 'Whether an id is or contains an e-mail address or a telephone number: a plus and at least 7 digits, or at least 7 digits and nothing but blanks, dots, hyphens and parentheses among them. Digits alone are an id';

grant execute on function tidegate.is_contact(text) to public;

create or replace function tidegate.agent_id(salt text, id text) returns text
language sql stable parallel safe
return case when tidegate.is_contact(id) then tidegate.pseudonym(salt, id) else id end;
comment on function tidegate.agent_id(text, text) is 'The id of an agent in keys: a pseudonym if it is an e-mail address or a telephone number';
