-- Projects, the machine and archive ledgers, events, and what the instances of one plane share. What pages are ordered by
-- is collated "C": the same order everywhere, and the cheapest.

-- Milliseconds by which the plane's clock is ahead of the server's. It counts only in a database whose sessions start
-- with the setting valet.shifted_clock = 'on': those of tests and drills.
CREATE TABLE valet.clock_shift (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  ms bigint NOT NULL DEFAULT 0
);

INSERT INTO valet.clock_shift DEFAULT VALUES;

CREATE FUNCTION valet.shifted_by() RETURNS interval
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT ms FROM valet.clock_shift) * interval '1 millisecond';

-- Whole milliseconds, so that a time survives the way through a client unchanged. One value throughout a statement, and
-- STABLE, so that it can bound an index scan. Reading the shift only where it counts keeps this as cheap as an expression.
CREATE FUNCTION valet.now() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN date_trunc('milliseconds', statement_timestamp())
  + CASE WHEN current_setting('valet.shifted_clock', true) = 'on' THEN valet.shifted_by() ELSE interval '0' END;

CREATE FUNCTION valet.ms(milliseconds double precision) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN milliseconds * interval '1 millisecond';

-- When a project with a dormancy threshold of its own may be archived. UTC arithmetic is immutable, so it can be indexed.
CREATE FUNCTION valet.dormant_after(last_active_at timestamptz, threshold_seconds integer) RETURNS timestamp
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (last_active_at AT TIME ZONE 'UTC') + threshold_seconds * interval '1 second';

CREATE TABLE valet.projects (
  project_id text COLLATE "C" PRIMARY KEY,
  uid text NOT NULL UNIQUE,
  state text NOT NULL CHECK (state IN ('active', 'suspended', 'dormant', 'deleted')),
  operation text NOT NULL
    CHECK (operation IN ('none', 'creating', 'waking', 'archiving', 'rehosting', 'deleting')),
  operation_id text,
  operation_began_at timestamptz,
  generation bigint NOT NULL,
  lease_until timestamptz,
  uploading boolean NOT NULL DEFAULT false,
  machine text COLLATE "C",
  region text NOT NULL,
  dirty boolean NOT NULL DEFAULT false,
  data_unavailable boolean NOT NULL DEFAULT false,
  deploy_key_sealed text NOT NULL,
  deploy_key_id text NOT NULL,
  idle_timeout_seconds integer,
  dormancy_threshold_seconds integer,
  pinned boolean NOT NULL DEFAULT false,
  attempts integer NOT NULL DEFAULT 0,
  next_attempt_at timestamptz,
  last_error text,
  created_at timestamptz NOT NULL,
  last_active_at timestamptz NOT NULL,
  deleted_at timestamptz,
  CHECK ((operation = 'none') = (operation_id IS NULL)),
  CHECK ((operation = 'none') = (lease_until IS NULL)),
  CHECK ((state IN ('active', 'suspended')) = (machine IS NOT NULL) OR operation = 'deleting')
) WITH (fillfactor = 85);

CREATE INDEX projects_newest ON valet.projects (created_at DESC, project_id DESC) WHERE state <> 'deleted';

CREATE INDEX projects_newest_of_state ON valet.projects (state, created_at DESC, project_id DESC);

CREATE INDEX projects_lease ON valet.projects (lease_until, project_id) WHERE operation <> 'none';

CREATE INDEX projects_running ON valet.projects (operation_began_at, project_id) WHERE operation <> 'none';

CREATE INDEX projects_idle ON valet.projects (last_active_at, project_id)
  WHERE state IN ('active', 'suspended') AND operation = 'none' AND NOT pinned AND NOT data_unavailable
    AND dormancy_threshold_seconds IS NULL;

CREATE INDEX projects_idle_own ON valet.projects (valet.dormant_after(last_active_at, dormancy_threshold_seconds))
  WHERE state IN ('active', 'suspended') AND operation = 'none' AND NOT pinned AND NOT data_unavailable
    AND dormancy_threshold_seconds IS NOT NULL;

CREATE INDEX projects_unavailable ON valet.projects (project_id) WHERE data_unavailable;

CREATE TABLE valet.machines (
  name text COLLATE "C" PRIMARY KEY,
  project text COLLATE "C",
  generation bigint NOT NULL,
  region text NOT NULL,
  image text NOT NULL,
  volume_size_gb integer NOT NULL,
  machine_id text,
  volume_id text,
  private_ip text,
  key_id text NOT NULL,
  status text NOT NULL CHECK (status IN ('provisioning', 'ready', 'assigned', 'discarded', 'gone')),
  served boolean NOT NULL DEFAULT false,
  released boolean NOT NULL DEFAULT false,
  machine_gone boolean NOT NULL DEFAULT false,
  volume_gone boolean NOT NULL DEFAULT false,
  attempts integer NOT NULL DEFAULT 0,
  next_attempt_at timestamptz,
  last_error text,
  absent_looks integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK (status <> 'ready' OR project IS NULL),
  CHECK (status <> 'assigned' OR project IS NOT NULL)
) WITH (fillfactor = 85);

CREATE INDEX machines_ready ON valet.machines (image, region, created_at, name) WHERE status = 'ready';

CREATE INDEX machines_provisioning ON valet.machines (created_at, name) WHERE status = 'provisioning';

-- Never tried first, then the longest due.
CREATE INDEX machines_bin ON valet.machines (coalesce(next_attempt_at, '-infinity'), updated_at, name)
  WHERE status = 'discarded';

CREATE INDEX machines_living ON valet.machines (created_at, name) WHERE status <> 'gone';

CREATE INDEX machines_gone ON valet.machines (updated_at) WHERE status = 'gone';

CREATE INDEX machines_of_project ON valet.machines (project) WHERE project IS NOT NULL;

CREATE INDEX machines_assigned ON valet.machines (created_at, name) WHERE status = 'assigned';

CREATE INDEX machines_by_machine_id ON valet.machines (machine_id) WHERE machine_id IS NOT NULL;

-- What operators ask for by that name.
CREATE VIEW valet.warm_pool AS
  SELECT name, machine_id, volume_id, region, image, created_at FROM valet.machines WHERE status = 'ready';

CREATE TABLE valet.archives (
  r2_key text COLLATE "C" PRIMARY KEY,
  project_id text COLLATE "C" NOT NULL,
  project_uid text NOT NULL,
  generation bigint NOT NULL,
  r2_checksum text,
  size bigint,
  url_expires_at timestamptz NOT NULL,
  status text NOT NULL CHECK (status IN ('uploading', 'current', 'previous', 'discarded', 'gone')),
  attempts integer NOT NULL DEFAULT 0,
  next_attempt_at timestamptz,
  last_error text,
  created_at timestamptz NOT NULL,
  gone_at timestamptz,
  CHECK (status NOT IN ('current', 'previous') OR (r2_checksum IS NOT NULL AND size IS NOT NULL))
);

CREATE INDEX archives_of_project ON valet.archives (project_uid) WHERE status IN ('uploading', 'current', 'previous');

CREATE INDEX archives_uploading ON valet.archives (url_expires_at, r2_key) WHERE status = 'uploading';

CREATE INDEX archives_bin ON valet.archives (url_expires_at, r2_key) WHERE status = 'discarded';

CREATE INDEX archives_gone ON valet.archives (gone_at) WHERE status = 'gone';

CREATE TABLE valet.events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project_id text COLLATE "C" NOT NULL,
  at timestamptz NOT NULL,
  kind text NOT NULL,
  generation bigint NOT NULL,
  detail jsonb NOT NULL DEFAULT '{}'
);

CREATE INDEX events_of_project ON valet.events (project_id, id DESC);

-- Accepted creates of each client, for the sliding windows.
CREATE TABLE valet.accepted_creates (
  client text COLLATE "C" NOT NULL,
  at timestamptz NOT NULL,
  project_id text COLLATE "C" NOT NULL,
  PRIMARY KEY (client, at, project_id)
);

CREATE INDEX accepted_creates_at ON valet.accepted_creates (at);

CREATE TABLE valet.idempotency_keys (
  client text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  project_id text COLLATE "C" NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (client, key)
);

CREATE INDEX idempotency_keys_at ON valet.idempotency_keys (at);

CREATE TABLE valet.strays (
  kind text NOT NULL CHECK (kind IN ('machine', 'volume')),
  id text COLLATE "C" NOT NULL,
  name text NOT NULL,
  looks integer NOT NULL,
  first_seen_at timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL,
  PRIMARY KEY (kind, id)
);

CREATE TABLE valet.identity (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  plane_id text NOT NULL,
  fly_app text NOT NULL,
  bucket text
);

-- Theoretical arrival time of the next request of each bucket (generic cell rate algorithm).
CREATE TABLE valet.fly_budget (
  bucket text COLLATE "C" PRIMARY KEY,
  arrival_at timestamptz NOT NULL
);

CREATE INDEX fly_budget_arrival ON valet.fly_budget (arrival_at);

CREATE FUNCTION valet.notify_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('valet_changes', NEW.project_id);
  RETURN NULL;
END
$$;

CREATE TRIGGER projects_inserted AFTER INSERT ON valet.projects
  FOR EACH ROW EXECUTE FUNCTION valet.notify_change();

-- Every change that a route, a waiting request or a page may show; not renewals of a lease and touches.
CREATE TRIGGER projects_changed AFTER UPDATE ON valet.projects
  FOR EACH ROW
  WHEN (
    (OLD.state, OLD.operation, OLD.generation, OLD.uploading, OLD.data_unavailable, OLD.pinned, OLD.attempts)
      IS DISTINCT FROM
    (NEW.state, NEW.operation, NEW.generation, NEW.uploading, NEW.data_unavailable, NEW.pinned, NEW.attempts)
    OR (OLD.operation_id, OLD.machine, OLD.idle_timeout_seconds, OLD.dormancy_threshold_seconds)
      IS DISTINCT FROM
    (NEW.operation_id, NEW.machine, NEW.idle_timeout_seconds, NEW.dormancy_threshold_seconds)
  )
  EXECUTE FUNCTION valet.notify_change();
