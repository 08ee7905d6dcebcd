-- What figures of the mart mean when vendors send odd times, several persons, or numbers with signs.

create function tidegate.known_time(at timestamptz, loaded_at timestamptz) returns timestamptz
language sql stable parallel safe
return case when at >= timestamptz '1990-01-01 00:00:00+00' and at <= loaded_at + interval '24 hours' then at end;
comment on function tidegate.known_time(timestamptz, timestamptz) is 'The one rule for times in the mart: a time before 1990, or more than a day after its row was loaded (a day, because a local time may be taken for UTC), is a mistake of the vendor and not known';

-- The last text by time is the greatest one with its time before it, so that no aggregate has to sort.

create function tidegate.with_time(at timestamptz, value text) returns text
language sql immutable parallel safe
return encode(timestamptz_send(coalesce(at, timestamptz '2000-01-01 00:00:00+00')), 'hex') || value;
comment on function tidegate.with_time(timestamptz, text) is 'The text after its time, so that the greatest one (collate "C") is the last by time; null if the text is null';

create function tidegate.without_time(value text) returns text
language sql immutable parallel safe
return substr(value, 17);
comment on function tidegate.without_time(text) is 'The text that tidegate.with_time was given';

grant execute on function
    tidegate.known_time(timestamptz, timestamptz),
    tidegate.with_time(timestamptz, text),
    tidegate.without_time(text)
to public;

create function tidegate.is_person(identity text) returns boolean
language sql immutable parallel safe
return identity like '%_@_%'
    or (identity collate "C") ~ '[^[:space:]._0-9-][[:space:]._-]+[^[:space:]._0-9-]';
comment on function tidegate.is_person(text) is 'Whether a text tells persons apart: an e-mail address, or a name or user name of two words; many people share a first name';

grant execute on function tidegate.is_person(text) to public;
