-- The day (UTC) of the last activity, for the dormancy sweep to find candidates by. An index on the moment itself would
-- be written anew, and all the table's other indexes with it, each time that a request is noted: a touch within the day
-- changes no indexed column, so PostgreSQL writes it beside the row alone (a heap-only tuple), at a fifth of the cost.
ALTER TABLE valet.projects
  ADD COLUMN last_active_day date GENERATED ALWAYS AS ((last_active_at AT TIME ZONE 'UTC')::date) STORED;

DROP INDEX valet.projects_idle;

DROP INDEX valet.projects_idle_own;

DROP FUNCTION valet.dormant_after(timestamptz, integer);

CREATE INDEX projects_idle ON valet.projects (last_active_day, project_id)
  WHERE state IN ('active', 'suspended') AND operation = 'none' AND NOT pinned AND NOT data_unavailable
    AND dormancy_threshold_seconds IS NULL;

-- The first moment at which a project with a threshold of its own may be due.
CREATE INDEX projects_idle_own ON valet.projects ((last_active_day + dormancy_threshold_seconds * interval '1 second'))
  WHERE state IN ('active', 'suspended') AND operation = 'none' AND NOT pinned AND NOT data_unavailable
    AND dormancy_threshold_seconds IS NOT NULL;
