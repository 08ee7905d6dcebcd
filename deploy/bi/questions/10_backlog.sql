-- What is open today, by system, unit and state, and its age in days. Lexer's cases and its inbox are the same work.
select
    source,
    unit,
    state,
    sum(open_count) as open,
    sum(open_count * age_seconds) / nullif(sum(open_count), 0) / 86400 as average_age_days,
    max(oldest_seconds) / 86400 as oldest_days
from mart.backlog_days
join mart.calendar using (day)
where is_today
group by source, unit, state
order by open desc;
