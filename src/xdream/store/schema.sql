-- Schema 5 of experiment.sqlite. A missing (NaN) number is NULL; `answered_utc` says that an answer came.
-- A record of "everything" has every row below. A record of "scores" has no presentations, and of its images
-- only the scores; of each run the codes of its best image and of its last generation (kept_code), its first
-- state and a late one. What else there was follows from these (xdream.experiment.replay). A session with a rig has the
-- tables from `channel` on instead of presentations: every recording is kept as it came, whatever became of it,
-- and scores follow from the recordings that were taken (xdream rescore).
CREATE TABLE experiment (                 -- what explains the record: plan, draws, identities, notes
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE process (                    -- each process that wrote: the first, and every resume
    id INTEGER PRIMARY KEY,
    started_utc TEXT NOT NULL,
    seconds REAL NOT NULL DEFAULT 0,      -- from its start to its last commit, monotonic clock
    versions TEXT NOT NULL                -- JSON
) STRICT;

CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    target TEXT NOT NULL,                 -- NETWORK:LAYER:UNIT
    seed INTEGER NOT NULL,
    optimizer TEXT NOT NULL,              -- JSON: name and every hyperparameter
    objective TEXT NOT NULL,              -- JSON: name and options
    spikes_per_activation REAL,           -- of the Poisson noise; NULL without
    finished_utc TEXT,
    ending TEXT                           -- why it ended: budget, plateau, user
) STRICT;

CREATE TABLE reference (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL                  -- of the file
) STRICT;

CREATE TABLE reference_response (         -- without noise, once before the first generation
    reference INTEGER NOT NULL REFERENCES reference,
    run INTEGER NOT NULL REFERENCES run,
    response REAL,
    PRIMARY KEY (reference, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE image (                      -- one per code that was asked
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES run,
    generation INTEGER NOT NULL,
    slot INTEGER NOT NULL,                -- place in the population
    chunk INTEGER,                        -- images of one chunk went through the networks together
    code BLOB,                            -- float32, little endian; NULL in a record of scores
    pixels TEXT,                          -- SHA-256 of the shown 8-bit pixels, (3, h, w); NULL until shown
    score REAL,
    noise_free_score REAL,
    UNIQUE (run, generation, slot)
) STRICT;
CREATE INDEX image_of_chunk ON image (generation, chunk) WHERE chunk IS NOT NULL;

CREATE TABLE kept_image (                 -- what was shown, as far as the plan's keep_images has it; references, too
    pixels TEXT PRIMARY KEY,              -- SHA-256, as in `image` and `planned`
    png BLOB NOT NULL
) STRICT;

CREATE TABLE kept_code (                  -- a table of its own: a best code goes when a better one comes
    run INTEGER NOT NULL REFERENCES run,
    generation INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    code BLOB NOT NULL,
    PRIMARY KEY (run, generation, slot)
) STRICT;

CREATE TABLE presentation (               -- one showing of one image
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES run,
    generation INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    image INTEGER REFERENCES image,       -- either an image of the run
    reference INTEGER REFERENCES reference,  -- or an interleaved reference
    repeat INTEGER NOT NULL,
    response REAL,
    noise_free REAL,
    answered_utc TEXT NOT NULL,
    answered_monotonic_s REAL NOT NULL
) STRICT;
CREATE INDEX presentation_of_generation ON presentation (generation, run);

CREATE TABLE told (                       -- generations that the optimizer has seen
    run INTEGER NOT NULL REFERENCES run,
    generation INTEGER NOT NULL,
    told_utc TEXT NOT NULL,
    PRIMARY KEY (run, generation)
) STRICT, WITHOUT ROWID;

CREATE TABLE state (                      -- of the optimizer, before that generation: the first and the latest written
    run INTEGER NOT NULL REFERENCES run,
    generation INTEGER NOT NULL,
    tensors BLOB NOT NULL,                -- safetensors
    PRIMARY KEY (run, generation)
) STRICT;

CREATE TABLE channel (                    -- of a session's recordings, in order
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL
) STRICT;

CREATE TABLE block (                      -- what a rig is given to show at a time
    id INTEGER PRIMARY KEY,               -- from 1
    generation INTEGER NOT NULL,
    planned_utc TEXT NOT NULL,
    fence INTEGER NOT NULL DEFAULT 1,     -- grows when another rig takes the block over
    holder TEXT,                          -- the rig that took it
    closed_utc TEXT,
    ending TEXT,                          -- answered, incomplete, silent, rejected, abandoned
    reason TEXT
) STRICT;

CREATE INDEX block_of_generation ON block (generation);

CREATE TABLE planned (                    -- a presentation before it is shown
    id INTEGER PRIMARY KEY,
    block INTEGER NOT NULL REFERENCES block,
    place INTEGER NOT NULL,               -- in the block
    image INTEGER REFERENCES image,       -- either an image of a run
    reference INTEGER REFERENCES reference,  -- or an interleaved reference
    repeat INTEGER NOT NULL,
    name TEXT NOT NULL,                   -- the image's id, as the rig sees it
    pixels TEXT NOT NULL,                 -- SHA-256, as in `image`
    UNIQUE (block, place)
) STRICT;
CREATE INDEX planned_by_name ON planned (name, repeat);

CREATE TABLE recording (                  -- each row of each answer, in the order of arrival; never changed
    id INTEGER PRIMARY KEY,
    block INTEGER REFERENCES block,       -- that was open, or that the answer named
    planned INTEGER REFERENCES planned,   -- NULL where it is no planned presentation
    status TEXT NOT NULL,                 -- taken, missing, late, duplicate, unknown, quarantined, stale, superseded
    reason TEXT,
    name TEXT,                            -- of the image, as the answer had it
    repeat INTEGER,
    raw BLOB,                             -- safetensors (xdream.scoring.recordings); for an unreadable answer its bytes
    source TEXT NOT NULL,
    arrived_utc TEXT NOT NULL,
    arrived_monotonic_s REAL NOT NULL,
    onset_s REAL                          -- of the image, on the rig's clock, where the rig said it
) STRICT;
CREATE INDEX recording_of_planned ON recording (planned) WHERE planned IS NOT NULL;

CREATE TABLE void (                       -- generations whose scores do not count: told from a rejected block,
    generation INTEGER PRIMARY KEY,       -- or following from such
    since INTEGER NOT NULL,               -- the rejected one, which is shown again as a later generation
    reason TEXT NOT NULL
) STRICT;

CREATE TABLE event (                      -- what the experimenter should know: pauses, alarms, flags, orders
    id INTEGER PRIMARY KEY,
    utc TEXT NOT NULL,
    monotonic_s REAL NOT NULL,
    generation INTEGER,
    block INTEGER,
    kind TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
