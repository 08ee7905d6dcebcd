create or replace view mart.bot_turns as
select
    t.source::text as source,
    t.connection::text as connection,
    t.occurred_at::timestamptz as occurred_at,
    (tidegate.known_time(t.occurred_at, t._loaded_at) at time zone {timezone})::date as day,
    (t.source || ':' || t.connection || ':' || t.id)::text as turn_key,
    (t.source || ':' || t.connection || ':' || t.conversation)::text as conversation_key,
    nullif(t.intent, '')::text as intent,
    nullif(t.state, '')::text as state,
    t.confidence::double precision as confidence,
    t.fallback::boolean as fallback,
    t.ended_session::boolean as ended_session,
    t._loaded_at::timestamptz as loaded_at
from (
    select
        'jaicp' as source,
        _connection as connection,
        "timestamp" as occurred_at,
        project_short_name || '/' || tidegate.pseudonym(session_id) || '/' || question_id as id,
        project_short_name || '/' || tidegate.pseudonym(session_id) as conversation,
        nlp_info_nlp_class as intent,
        nlp_info_nlp_state as state,
        nlp_info_confidence as confidence,
        (nlp_info_nlp_class ~* '(catch.?all|no.?match|fallback)' or nlp_info_nlp_state ~* '(catch.?all|no.?match|fallback)') as fallback,
        null::boolean as ended_session,
        _loaded_at
    from jaicp.messages
    where not coalesce(is_livechat, false) and coalesce(operator_info_id, '') = ''
    union all
    select
        'lynn',
        _connection,
        "timestamp",
        tidegate.pseudonym(_row_key::text) || '/' || extract(epoch from _window_start)::bigint,
        session,
        intent,
        mark_name,
        null,
        intent ~* '(catch.?all|no.?match|fallback|unknown)',
        mark_name = 'END_SESSION',
        _loaded_at
    from lynn.navigation_marks
) t;

comment on view mart.bot_turns is 'One row per turn of a bot: message without an operator (JAICP), mark of the flow (Lynn). Key: turn_key';
comment on column mart.bot_turns.source is 'Vendor: jaicp or lynn; Khoros and Lexer have no bot';
comment on column mart.bot_turns.connection is 'Configured connection from which the row was read';
comment on column mart.bot_turns.occurred_at is 'When the turn took place';
comment on column mart.bot_turns.day is
    'Local date of occurred_at in the business time zone (mart.timezone). Null if occurred_at cannot be right: before 1990, or more than a day after the row was loaded';
comment on column mart.bot_turns.turn_key is 'Unique: source:connection:id; for JAICP the key of the message in mart.messages, for Lynn a pseudonym of the row';
comment on column mart.bot_turns.conversation_key is 'The session, as in mart.conversations';
comment on column mart.bot_turns.intent is 'Recognised intent, as the vendor names it';
comment on column mart.bot_turns.state is 'State of the scenario (JAICP) or name of the mark (Lynn)';
comment on column mart.bot_turns.confidence is 'Confidence of the recognition, 0 to 1. Null for Lynn, which does not report it';
comment on column mart.bot_turns.fallback is
    'Whether the bot did not understand: intent or state is named CatchAll, NoMatch, fallback or unknown. Null without an intent';
comment on column mart.bot_turns.ended_session is 'Whether the turn ended the session. Null for JAICP, which does not report it';
comment on column mart.bot_turns.loaded_at is 'When Tidegate last changed the row';
