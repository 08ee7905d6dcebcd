-- How much is written, without the texts themselves. One row per week, connection and direction. Only for members of
-- tidegate_reader: the texts are personal data.
select
    c.week,
    t.source,
    t.connection,
    m.direction,
    count(*) as messages,
    percentile_cont(0.5) within group (order by length(t.text)) as median_characters,
    count(*) filter (where t.text like '%?%') as with_a_question
from {{ source('mart', 'messages_text') }} t
join {{ source('mart', 'messages') }} m using (message_key)
join {{ source('mart', 'calendar') }} c using (day)
where t.text <> ''
group by c.week, t.source, t.connection, m.direction
