-- What grows with time is found by an index, and what is old can be taken away: see src/store/prune.rs.

-- Pruning looks for the runs that ended first.
create index run_finished_idx on tidegate.run (finished_at) where finished_at is not null;
-- The newest failures are sought among the tasks of the newest runs; few tasks fail.
create index task_failed_idx on tidegate.task (run_id) where state = 'failed';
-- A slice that is being read is one of very many that are not.
create index slice_reading_idx on tidegate.slice (connection, stream, window_start) where reading_run is not null;
-- Every load asks for the last change of its own table.
create index schema_change_table_idx on tidegate.schema_change (table_schema, table_name, id);
-- Batches are counted by state, and those under way sought, without a look at the rows.
create index push_batch_state_idx on tidegate.push_batch (job, state) include (rows);
