//! The tables, and how a ledger of an earlier agent becomes one of this.
//!
//! A migration is never changed once it was released: the next one goes after it. `user_version` says how many
//! were applied.

/// Each brings the ledger from the format of its index to the next.
pub(super) const MIGRATIONS: [&str; 7] = [V1, V2, V3, V4, V5, V6, V7];

/// Instances and their root filesystems, addresses, pins, remotes, networks.
const V1: &str = "
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
";

/// Volumes, and what files say.
const V2: &str = "
-- instance and target are there for a volume that an image declares: it follows its instance.
CREATE TABLE volume (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    labels TEXT NOT NULL,
    uid INTEGER,
    gid INTEGER,
    mode INTEGER,
    created_at INTEGER NOT NULL,
    instance TEXT REFERENCES instance (id) ON DELETE CASCADE,
    target TEXT,
    deleting INTEGER NOT NULL,
    UNIQUE (instance, target)
) STRICT;

-- What the files of an instance say, secrets among them.
CREATE TABLE file (
    instance TEXT NOT NULL REFERENCES instance (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (instance, digest)
) STRICT;
";

/// Remotes have client certificates, mirrors and keys that sign; lists are JSON.
const V3: &str = "
ALTER TABLE remote ADD COLUMN client_certificate TEXT;
ALTER TABLE remote ADD COLUMN client_key TEXT;
ALTER TABLE remote ADD COLUMN mirrors TEXT NOT NULL DEFAULT '[]';
ALTER TABLE remote ADD COLUMN verify_keys TEXT NOT NULL DEFAULT '[]';
";

/// Networks have more than a kind and a subnet: what was asked for is JSON, with its format.
const V4: &str = "
ALTER TABLE network ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE network ADD COLUMN generation INTEGER NOT NULL DEFAULT 1;
ALTER TABLE network ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE network ADD COLUMN spec TEXT NOT NULL DEFAULT '';
UPDATE network SET spec = json_object('format', 1, 'spec', json_object(
    'name', name, 'kind', kind, 'ipv4_subnet', ipv4_subnet, 'nat', json('true')));
ALTER TABLE network DROP COLUMN kind;
ALTER TABLE network DROP COLUMN ipv4_subnet;
CREATE UNIQUE INDEX network_number ON network (number);
";

/// An instance has an interface on each of several networks, and not each has an address of the agent's.
const V5: &str = "
CREATE TABLE interface (
    network TEXT NOT NULL REFERENCES network (id),
    name TEXT NOT NULL,
    interface TEXT NOT NULL,
    ipv4 TEXT,
    mac TEXT NOT NULL,
    slot INTEGER NOT NULL,
    instance TEXT REFERENCES instance (id) ON DELETE SET NULL,
    released_at INTEGER,
    PRIMARY KEY (network, name, interface),
    UNIQUE (network, ipv4)
) STRICT;
INSERT INTO interface SELECT network, name, 'eth0', ipv4, mac, 0, instance, released_at FROM address;
DROP TABLE address;
ALTER TABLE interface RENAME TO address;
CREATE INDEX address_instance ON address (instance);
";

/// Interfaces have an address of either family.
const V6: &str = "
ALTER TABLE address ADD COLUMN ipv6 TEXT;
CREATE UNIQUE INDEX address_ipv6 ON address (network, ipv6);
";

/// Volumes have a size.
const V7: &str = "
ALTER TABLE volume ADD COLUMN size INTEGER;
";
