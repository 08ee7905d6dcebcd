create or replace view mart.survey_responses as
select
    r.source::text as source,
    r.connection::text as connection,
    r.answered_at::timestamptz as answered_at,
    (tidegate.known_time(r.answered_at, r._loaded_at) at time zone {timezone})::date as day,
    (r.source || ':' || r.connection || ':' || r.id)::text as response_key,
    (r.source || ':' || r.connection || ':' || r.conversation)::text as conversation_key,
    (r.source || ':' || r.connection || ':' || tidegate.agent_id(r.agent))::text as agent_key,
    (r.source || ':' || r.connection || ':' || tidegate.pseudonym(r.customer))::text as customer_key,
    r.survey::text as survey,
    r.scale::text as scale,
    r.answer::text as answer,
    r.score_0_1::double precision as score_0_1,
    r.nps_group::text as nps_group,
    nullif(r.comment, '')::text as comment,
    r._loaded_at::timestamptz as loaded_at
from (
    (select distinct on (_connection, _row_key)
        'lynn' as source,
        _connection as connection,
        answered_at,
        tidegate.pseudonym(_row_key::text) as id,
        nullif(session, '') as conversation,
        nullif(agent, '') as agent,
        null::text as customer,
        survey,
        lower(scale) as scale,
        answer,
        case
            when upper(scale) = 'LIKE' then case upper(answer) when 'YES' then 1 when 'NO' then 0 end
            when upper(scale) = 'STARS' then case when score between 1 and 9 then (score - 1) / 8 end
            when upper(scale) = 'FACES' then case answer when '😀' then 1 when '😐' then 0.5 when '😡' then 0 end
            when upper(scale) = 'NPS' then case when score between 0 and 10 then score / 10 end
        end as score_0_1,
        case
            when upper(scale) <> 'NPS' or score not between 0 and 10 then null
            when score >= 9 then 'promoter'
            when score >= 7 then 'passive'
            when score is not null then 'detractor'
        end as nps_group,
        comment,
        _loaded_at
    from {{lynn.survey_result}} t
    order by _connection, _row_key, _window_start desc, _loaded_at desc)
    union all
    (select distinct on (n._connection, n._row_key)
        'lexer',
        n._connection,
        n.answered_at,
        tidegate.pseudonym(n._row_key::text),
        null,
        coalesce(u.id::text, nullif(lower(trim(n.agent)), '')),
        nullif(n.customer, ''),
        coalesce(f.name, n.form_id::text),
        'nps',
        coalesce(n.answer, n.score::text),
        case when n.score between 0 and 10 then n.score / 10 end,
        case
            when n.score not between 0 and 10 then null
            when n.score >= 9 then 'promoter'
            when n.score >= 7 then 'passive'
            when n.score is not null then 'detractor'
        end,
        n.comment,
        n._loaded_at
    from {{lexer.nps_submissions}} n
    left join lexer.forms f on f._connection = n._connection and f.id = n.form_id
    left join {lexer_names} u on u._connection = n._connection and u.name = lower(trim(n.agent))
    order by n._connection, n._row_key, n._window_start desc, n._loaded_at desc)
) r;

comment on view mart.survey_responses is 'One row per answer to a survey: Lynn''s surveys, Lexer''s NPS forms. Key: response_key';
comment on column mart.survey_responses.source is 'Vendor: lynn or lexer; Khoros and JAICP report no surveys';
comment on column mart.survey_responses.connection is 'Configured connection from which the row was read';
comment on column mart.survey_responses.answered_at is 'When the customer answered';
comment on column mart.survey_responses.day is
    'Local date of answered_at in the business time zone (mart.timezone). Null if answered_at cannot be right: before 1990, or more than a day after the row was loaded';
comment on column mart.survey_responses.response_key is 'Unique: source:connection:pseudonym of the row, which has no id of the vendor';
comment on column mart.survey_responses.conversation_key is
    'The conversation, as in mart.conversations. Null for Lexer, whose submissions do not name a case';
comment on column mart.survey_responses.agent_key is 'The agent, as in mart.agents; null if the vendor names none';
comment on column mart.survey_responses.customer_key is 'The customer, as in mart.customers. Null for Lynn';
comment on column mart.survey_responses.survey is 'Name of the survey or form';
comment on column mart.survey_responses.scale is 'like, stars (1 to 9), faces (3) or nps (0 to 10)';
comment on column mart.survey_responses.answer is 'Answer as the vendor gives it; on a scale that is not known null for tidegate_analyst, since it may be text';
comment on column mart.survey_responses.score_0_1 is 'Answer on one scale: 0 (worst) to 1 (best). Null if it is outside its scale';
comment on column mart.survey_responses.nps_group is 'promoter (9, 10), passive (7, 8) or detractor (0 to 6); null for other scales';
comment on column mart.survey_responses.comment is 'What the customer wrote; null for tidegate_analyst';
comment on column mart.survey_responses.loaded_at is 'When Tidegate last changed the row';
