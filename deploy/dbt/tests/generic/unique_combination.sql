{#
    Fails for each combination of values of `columns` that several rows have. Nulls count as equal.
    A table that does not exist yet, because its report was never read, passes.
#}
{% test unique_combination(model, columns) %}

{%- set quoted = [] -%}
{%- for column in columns -%}
    {%- do quoted.append(adapter.quote(column)) -%}
{%- endfor -%}

{%- if execute and model is not string and load_relation(model) is none %}
select 1 as missing where false
{%- else %}
select {{ quoted | join(', ') }}, count(*) as row_count
from {{ model }}
group by {{ quoted | join(', ') }}
having count(*) > 1
{%- endif %}

{% endtest %}
