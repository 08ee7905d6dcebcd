create or replace view mart.channels as
select source::text, channel_raw::text, channel::text
from (values {channels}) as t(source, channel_raw, channel);

comment on view mart.channels is
    'How the vendors name channels, and one vocabulary for all of them. Key: source, channel_raw. mart.channels in the configuration adds names';
comment on column mart.channels.source is 'Vendor: khoros, lexer, jaicp or lynn';
comment on column mart.channels.channel_raw is 'Name at the vendor, in lower case';
comment on column mart.channels.channel is 'Name in every relation of the mart, e.g. whatsapp, webchat, phone, email';
