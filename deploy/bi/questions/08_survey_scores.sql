-- Distribution of survey scores on one scale from 0 to 1.
select source, survey, scale, answer, score_0_1, count(*) as responses
from mart.survey_responses
group by source, survey, scale, answer, score_0_1
order by source, survey, scale, score_0_1;
