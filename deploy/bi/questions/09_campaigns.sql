-- Campaigns: sent, failed, outcome not known, blacklisted, answered.
select source, campaign_id, name, type, active, first_sent_at, sent, failed, unknown, blacklisted, answered
from mart.campaigns
order by first_sent_at desc nulls last, campaign_key;
