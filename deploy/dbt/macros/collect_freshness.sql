{#
    dbt computes the freshness of a source from its rows, so it reads whole tables, and an empty table counts as old.
    The sources of Tidegate take it from `mart.data_status` with a subselect, which needs no rows.
#}
{% macro postgres__collect_freshness(source, loaded_at_field, filter) %}
    {%- if not loaded_at_field.strip().startswith('(select ') -%}
        {{ return(dbt.default__collect_freshness(source, loaded_at_field, filter)) }}
    {%- endif -%}
    {%- call statement('collect_freshness', fetch_result=True, auto_begin=False) -%}
        select {{ loaded_at_field }} as max_loaded_at, {{ current_timestamp() }} as snapshotted_at
    {%- endcall -%}
    {{ return(load_result('collect_freshness')) }}
{% endmacro %}
