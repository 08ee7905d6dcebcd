-- Scores of all surveys on one scale from 0 to 1. One row per week, connection, survey and scale.
select
    c.week,
    r.source,
    r.connection,
    r.survey,
    r.scale,
    count(*) as responses,
    avg(r.score_0_1) as average_score_0_1
from {{ source('mart', 'survey_responses') }} r
join {{ source('mart', 'calendar') }} c using (day)
group by c.week, r.source, r.connection, r.survey, r.scale
