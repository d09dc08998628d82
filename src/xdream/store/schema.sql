-- Schema 2 of experiment.sqlite. A missing (NaN) number is NULL; `answered_utc` says that an answer came.
-- A record of "everything" has every row below. A record of "scores" has no presentations, and of its images
-- only the scores; of each run the codes of its best image and of its last generation (kept_code), its first
-- state and a late one. What else there was follows from these (xdream.replay).
CREATE TABLE experiment (                 -- what explains the record: plan, draws, identities, notes
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE session (                    -- each process that wrote: the first, and every resume
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
    generations INTEGER NOT NULL,         -- the budget
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

CREATE TABLE state (                      -- of the optimizer, before that generation: the first and the latest
    run INTEGER NOT NULL REFERENCES run,
    generation INTEGER NOT NULL,
    tensors BLOB NOT NULL,                -- safetensors
    PRIMARY KEY (run, generation)
) STRICT;
