//! When Postgres vacuums and analyses the tables that rows are loaded into (docs/performance.md#autovacuum).

/// Parameters of new tables. Postgres's own values are right for small tables and late for large ones: they are shares
/// of a table.
const PARAMETERS: [(&str, &str); 3] = [
    ("autovacuum_vacuum_scale_factor", "0.05"),
    ("autovacuum_vacuum_insert_scale_factor", "0.05"),
    ("autovacuum_analyze_scale_factor", "0.02"),
];

/// The parameters as `create table … with (…)` and `alter table … set (…)` take them. Only tables that have rows
/// themselves take them: the partitions of a table, but not the partitioned table.
pub(super) fn parameters() -> String {
    PARAMETERS.map(|(name, value)| format!("{name} = {value}")).join(", ")
}
