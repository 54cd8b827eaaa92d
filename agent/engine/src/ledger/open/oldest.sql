CREATE TABLE agent (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    id TEXT NOT NULL
) STRICT;

CREATE TABLE remote (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    address TEXT NOT NULL,
    username TEXT,
    password TEXT,
    insecure INTEGER NOT NULL,
    ca_certificate TEXT,
    credential_helper TEXT,
    docker_config TEXT
) STRICT;

CREATE TABLE network (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    ipv4_subnet TEXT NOT NULL
) STRICT;

CREATE TABLE pin (
    id TEXT PRIMARY KEY,
    reference TEXT NOT NULL,
    platform TEXT NOT NULL,
    reference_resolved TEXT NOT NULL,
    index_digest TEXT NOT NULL,
    image_digest TEXT NOT NULL,
    keep_on_destroy INTEGER NOT NULL
) STRICT;
CREATE INDEX pin_image ON pin (image_digest);

-- current and previous are versions of the instance in JSON, with their format; previous is there while an
-- update is under way. The images stand beside them so that their use can be asked for.
CREATE TABLE instance (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    phase TEXT NOT NULL,
    generation INTEGER NOT NULL,
    current TEXT NOT NULL,
    previous TEXT,
    image TEXT NOT NULL,
    previous_image TEXT,
    uid_base INTEGER NOT NULL UNIQUE,
    failure TEXT,
    restarts INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER
) STRICT;
CREATE INDEX instance_image ON instance (image);

-- An address outlives its instance, so that the next of the same name gets it again; it is given to another only
-- when none is left.
CREATE TABLE address (
    network TEXT NOT NULL REFERENCES network (id),
    ipv4 TEXT NOT NULL,
    mac TEXT NOT NULL,
    name TEXT NOT NULL,
    instance TEXT UNIQUE REFERENCES instance (id) ON DELETE SET NULL,
    released_at INTEGER,
    PRIMARY KEY (network, ipv4),
    UNIQUE (network, name)
) STRICT;
INSERT INTO agent (only_row, id) VALUES (1, '11111111-1111-4111-8111-111111111111');
INSERT INTO remote VALUES ('22222222-2222-4222-8222-222222222222', 'hub', 'https://registry.test', 'me', 's3cret', 0, NULL, NULL, NULL);
INSERT INTO network VALUES ('33333333-3333-4333-8333-333333333333', 'default', 'bridge', '10.9.8.0/24');
INSERT INTO pin VALUES ('44444444-4444-4444-8444-444444444444', 'hub:web', 'linux/amd64', 'registry.test/web@sha256:abababababababababababababababababababababababababababababababab', 'sha256:abababababababababababababababababababababababababababababababab', 'sha256:abababababababababababababababababababababababababababababababab', 1);
INSERT INTO instance VALUES ('55555555-5555-4555-8555-555555555555', 'web', 'settled', 3,
    '{"format": 1, "version": {"spec": {"name": "web", "kind": "container", "image": {"reference": "hub:web"}, "entrypoint": null, "command": ["serve"], "environment": {"A": "1", "B": null}, "working_dir": null, "user": null, "hostname": null, "stop_signal": "SIGINT", "stop_timeout_ms": 5000, "restart_triggers": {}, "labels": {}, "description": null, "running": true, "restart": {"mode": "on-failure", "max_retries": 3, "backoff_ms": 100}, "ports": {"http": {"container_port": 80, "host_port": null, "host_address": "127.0.0.1", "protocol": "tcp"}}, "limits": {"cpu_millis": null, "memory_bytes": 67108864, "pids": null}}, "revision": 2, "rootfs": 1, "image": "sha256:abababababababababababababababababababababababababababababababab", "image_reference": "hub:web", "host_ports": {"http": 20001}, "exit": {"code": 3, "signal": null, "oom_killed": false, "at": 1700000000000}}}',
    NULL, 'sha256:abababababababababababababababababababababababababababababababab', NULL, 1000000000, NULL, 0, 1700000000000, 1700000000000);
INSERT INTO address VALUES ('33333333-3333-4333-8333-333333333333', '10.9.8.2', '02:55:55:55:55:55', 'web', '55555555-5555-4555-8555-555555555555', NULL);
PRAGMA user_version = 1;
