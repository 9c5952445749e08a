-- The tables of a new SQLite database, as schema.py has them; a test says when they differ.
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE generations (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    archive TEXT NOT NULL,
    digest TEXT NOT NULL,
    published_at TEXT NOT NULL,
    replaced_at TEXT,
    run_id INTEGER
);
CREATE INDEX generations_of_archive ON generations (archive, id);
CREATE TABLE preparations (
    archive TEXT NOT NULL,
    generation TEXT NOT NULL,
    prepared_at TEXT NOT NULL,
    PRIMARY KEY (archive)
);
CREATE TABLE runs (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    archive TEXT NOT NULL,
    stage VARCHAR(20) NOT NULL,
    strategy TEXT NOT NULL,
    trigger_name TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    outcome VARCHAR(20) NOT NULL,
    exit_code INTEGER,
    generation TEXT,
    message TEXT NOT NULL,
    stats JSON NOT NULL,
    log TEXT NOT NULL,
    why TEXT NOT NULL
);
CREATE INDEX runs_of_archive ON runs (archive, id);
CREATE TABLE standings (
    archive TEXT NOT NULL,
    site TEXT NOT NULL,
    stage1 TEXT,
    stage1_at TEXT,
    stage2 TEXT,
    stage2_at TEXT,
    sent_stage VARCHAR(20),
    sent_generation TEXT,
    sent_at TEXT,
    tried TEXT,
    attempts INTEGER NOT NULL,
    failing_since TEXT,
    next_try_at TEXT,
    exit_code INTEGER,
    last_words TEXT NOT NULL,
    reported BOOLEAN NOT NULL,
    PRIMARY KEY (archive, site)
);
CREATE TABLE triggers (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    archive TEXT NOT NULL,
    site TEXT NOT NULL,
    stage VARCHAR(20) NOT NULL,
    generation TEXT NOT NULL,
    sent_at TEXT NOT NULL,
    ended_at TEXT,
    exit_code INTEGER,
    output TEXT NOT NULL
);
CREATE INDEX triggers_of_archive ON triggers (archive, id);
CREATE INDEX triggers_of_both ON triggers (archive, site, id);
CREATE INDEX triggers_of_site ON triggers (site, id);
CREATE TABLE requests (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    archive TEXT NOT NULL,
    stage VARCHAR(20) NOT NULL,
    mhop BOOLEAN NOT NULL,
    trigger_name TEXT NOT NULL,
    client TEXT NOT NULL,
    words TEXT NOT NULL,
    generation TEXT,
    arrived_at TEXT NOT NULL,
    run_id INTEGER,
    exit_code INTEGER,
    message TEXT NOT NULL,
    FOREIGN KEY(run_id) REFERENCES runs (id)
);
CREATE INDEX requests_of_archive ON requests (archive, run_id);
CREATE INDEX requests_of_run ON requests (run_id);
