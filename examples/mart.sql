-- Times typical questions on the mart with half a million bot sessions of 5 messages, and half a million conversations with
-- a response each. For a database of its own that has the schema: `tidegate migrate`, then
--     psql --file examples/mart.sql
-- then `tidegate migrate` again, which makes the views over the new columns, then
--     psql --variable questions=1 --file examples/mart.sql
\set ON_ERROR_STOP on
\timing on
\if :{?questions}
\echo conversations per day and channel, a year
select day, channel, count(*) from mart.conversations where day >= date '2025-01-01' group by day, channel order by 1, 2 limit 3;
\echo conversations per day and channel, 7 days
select day, channel, count(*) from mart.conversations
where started_at >= '2025-06-01' and started_at < '2025-06-08' group by day, channel order by 1, 2 limit 3;
\echo first response by week, median and 90th percentile
select date_trunc('week', day) as week, source,
    percentile_cont(array[0.5, 0.9]) within group (order by first_response_seconds)
from mart.conversations where first_response_seconds is not null group by 1, 2 order by 1, 2 limit 3;
\echo agents, leaderboard
select a.name, sum(d.handled), sum(d.replies) from mart.agent_days d left join mart.agents a using (agent_key)
group by a.name order by 2 desc nulls last limit 3;
\echo containment by week
select date_trunc('week', day) as week, avg((not reached_agent)::int) from mart.conversations
where kind = 'bot session' group by 1 order by 1 limit 3;
\echo intents
select intent, count(*) from mart.bot_turns group by 1 order by 2 desc limit 3;
\echo messages per day
select day, count(*) from mart.messages group by 1 order by 1 limit 3;
\else
insert into jaicp.sessions (_connection, project_short_name, session_id, channel_type, bot_id, client_id, start_time, duration,
    question_count, is_livechat, _run_id, _loaded_at)
select 'jaicp', 'bot', 's' || i, (array['telegram', 'chatwidget', 'resterisk'])[1 + i % 3], 'b', 'c' || i % 200000,
    timestamptz '2025-01-01' + i * interval '31 seconds', i % 600000, 5, i % 7 = 0, 1, now()
from generate_series(1, 500000) i;
insert into jaicp.messages (_connection, project_short_name, session_id, question_id, channel_type, bot_id, client_id, "timestamp",
    question, text_answer, nlp_info_nlp_class, is_livechat, operator_info_id, processing_time, _run_id, _loaded_at)
select 'jaicp', 'bot', 's' || i, 'q' || i || '-' || m, (array['telegram', 'chatwidget', 'resterisk'])[1 + i % 3], 'b',
    'c' || i % 200000, timestamptz '2025-01-01' + i * interval '31 seconds' + m * interval '20 seconds', 'question', 'answer',
    'intent ' || (i + m) % 40, i % 7 = 0 and m > 3, case when i % 7 = 0 and m > 3 then 'o' || i % 50 end, 250, 1, now()
from generate_series(1, 500000) i cross join generate_series(1, 5) m;
alter table khoros.conversation add column if not exists created_time timestamptz, add column if not exists closed_time timestamptz,
    add column if not exists status text, add column if not exists network text, add column if not exists agent_id text;
alter table khoros.response add column if not exists response_id text, add column if not exists conversation_id text,
    add column if not exists agent_id text, add column if not exists response_time timestamptz;
insert into khoros.conversation (_connection, conversation_id, created_time, closed_time, status, network, agent_id, _run_id, _loaded_at)
select 'khoros', 'k' || i, timestamptz '2025-01-01' + i * interval '31 seconds',
    case when i % 20 > 0 then timestamptz '2025-01-01' + i * interval '31 seconds' + i % 90000 * interval '1 second' end,
    case when i % 20 > 0 then 'CLOSED' else 'OPEN' end, (array['TWITTER', 'FACEBOOK'])[1 + i % 2], 'a' || i % 80, 1, now()
from generate_series(1, 500000) i;
insert into khoros.response (_connection, _row_key, response_id, conversation_id, agent_id, response_time, _run_id, _loaded_at)
select 'khoros', gen_random_uuid(), 'r' || i, 'k' || i, 'a' || i % 80,
    timestamptz '2025-01-01' + i * interval '31 seconds' + i % 3000 * interval '1 second', 1, now()
from generate_series(1, 500000) i;
insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
values ('jaicp', 'sessions', 'jaicp', 'sessions', '2025-01-01', 'UTC', '1d');
vacuum analyze jaicp.sessions, jaicp.messages, khoros.conversation, khoros.response;
\endif
