"""The draws and the optimizers once more, derived from their definitions alone.

Plain Python: one run at a time, slow loops over components, float64 throughout, nothing of the package
and no tensor library. The definitions are those of

- Salmon, Moraes, Dror & Shaw 2011 ("Parallel random numbers: as easy as 1, 2, 3") for Philox 4x32-10,
- Box & Muller 1958 for normal numbers, with the words laid out as `xdream.random` documents it,
- Xiao & Kreiman 2020 (XDream) for the three optimizers, and for missing scores the rules that their
  files in `xdream.optimizers` state.

The trajectories beside this file (`genetic.json`, `fdgd.json`, `nes.json`) are rewritten by

    python tests/golden/derivation.py
"""

import json
import math
import zlib
from pathlib import Path

NAN = math.nan
WORD = 2**32


# The draws


def philox(counter, key):
    """Four 32-bit words from four counter words and two key words."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            product1 // WORD ^ c1 ^ k0,
            product1 % WORD,
            product0 // WORD ^ c3 ^ k1,
            product0 % WORD,
        )
        k0, k1 = (k0 + 0x9E3779B9) % WORD, (k1 + 0xBB67AE85) % WORD
    return c0, c1, c2, c3


def words(seed, step, purpose, count):
    """Counter = (block, step, CRC-32 of the purpose, 0); key = (low, high) half of the seed."""
    name = zlib.crc32(purpose.encode())
    found = []
    block = 0
    while len(found) < count:
        found.extend(philox((block, step, name, 0), (seed % WORD, seed // WORD)))
        block += 1
    return found[:count]


def uniforms(seed, step, purpose, count):
    """The upper 24 bits of a word."""
    return [(word // 2**8) / 2**24 for word in words(seed, step, purpose, count)]


def uniforms64(seed, step, purpose, count):
    """27 bits of one word above 26 bits of the next."""
    w = words(seed, step, purpose, 2 * count)
    return [((w[2 * i] // 2**5) * 2**26 + w[2 * i + 1] // 2**6) / 2**53 for i in range(count)]


def box_muller(word_of_radius, word_of_angle):
    """Two normal numbers. The angle has a quarter (2 bits) and a place in it (24 bits)."""
    radius = math.sqrt(-2.0 * math.log((word_of_radius + 0.5) / WORD))
    quarter = word_of_angle // 2**30
    place = (word_of_angle // 2**6) % 2**24 / 2**24 - 0.5
    angle = (quarter + place) * math.pi / 2.0
    return radius * math.cos(angle), radius * math.sin(angle)


def normals(seed, step, purpose, count):
    """Words in pairs: radius, angle."""
    w = words(seed, step, purpose, 2 * ((count + 1) // 2))
    found = []
    for i in range(0, len(w), 2):
        found.extend(box_muller(w[i], w[i + 1]))
    return found[:count]


def table(numbers, columns):
    """A flat list as rows of so many columns."""
    return [list(numbers[i : i + columns]) for i in range(0, len(numbers), columns)]


# Scores that arithmetic can use


def usable(scores):
    """+inf and -inf count as the greatest and the least finite score; without any they count as NaN."""
    finite = [s for s in scores if math.isfinite(s)]
    made = []
    for s in scores:
        if math.isinf(s):
            s = NAN if not finite else max(finite) if s > 0 else min(finite)
        made.append(s)
    return made


def percentile(values, fraction):
    """Linear interpolation between the two nearest order statistics."""
    ordered = sorted(values)
    place = fraction * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


# The three optimizers: options, seed, step, what is remembered, scores -> what is remembered next


def parent_probability(scores, q):
    """One weight per code; None where it cannot be a parent."""
    seen = [s for s in scores if not math.isnan(s)]
    if not seen:
        return [None] * len(scores)
    mean = sum(seen) / len(seen)
    deviation = math.sqrt(sum((s - mean) ** 2 for s in seen) / len(seen))
    ceiling = percentile(seen, 0.95)
    best = max(min(s, ceiling) for s in seen)
    weights = []
    for s in scores:
        if math.isnan(s):
            weights.append(None)
        elif q == 0:
            weights.append(1.0)
        else:
            temperature = max(deviation / q, 1e-8)
            weights.append(math.exp((min(s, ceiling) - best) / temperature))
    least = min(w for w in weights if w)
    return [least if w == 0.0 else w for w in weights]


def genetic_tell(options, seed, step, codes, scores):
    """The next population."""
    n, d = len(codes), len(codes[0])
    scores = usable(scores)
    weights = parent_probability(scores, options["selectivity"])
    total = sum(w for w in weights if w is not None)

    def parent(u):
        passed = 0.0
        for i in range(n):
            if weights[i] is not None:
                passed += weights[i]
                if u * total < passed:
                    return i
        raise AssertionError("rounding ate a draw; choose another seed")

    ranking = sorted((i for i in range(n) if weights[i] is not None), key=lambda i: -scores[i])
    elites = ranking[: options["elites"]]
    h = options["heritability"]
    h = 1.0 - h if h < 0.5 else h
    of_parents = uniforms64(seed, step, "genetic/parents", 2 * n)
    of_crossover = table(uniforms(seed, step, "genetic/crossover", n * d), d)
    of_mutated = table(uniforms(seed, step, "genetic/mutated", n * d), d)
    of_mutation = table(normals(seed, step, "genetic/mutation", n * d), d)

    following = []
    for i in range(n):
        if weights[i] is None or i in elites:
            following.append(list(codes[i]))
            continue
        first, second = codes[parent(of_parents[i])], codes[parent(of_parents[n + i])]
        child = []
        for j in range(d):
            component = first[j] if of_crossover[i][j] < h else second[j]
            if of_mutated[i][j] < options["mutation_rate"]:
                component += options["mutation_size"] * of_mutation[i][j]
            child.append(component)
        following.append(child)
    return following


def fdgd_ask(options, seed, step, centre):
    """c + d_i, then c - d_i."""
    steps = fdgd_steps(options, seed, step, len(centre))
    return [[c + s for c, s in zip(centre, row, strict=True)] for row in steps] + [
        [c - s for c, s in zip(centre, row, strict=True)] for row in steps
    ]


def fdgd_steps(options, seed, step, d):
    half = options["population"] // 2
    numbers = normals(seed, step, "fdgd/steps", half * d)
    return table([options["search_radius"] * x for x in numbers], d)


def fdgd_tell(options, seed, step, centre, scores):
    """The next centre."""
    d = len(centre)
    scores = usable(scores)
    steps = fdgd_steps(options, seed, step, d)
    gradient, pairs = [0.0] * d, 0
    for i, row in enumerate(steps):
        delta = (scores[i] - scores[len(steps) + i]) / 2.0
        if math.isnan(delta):
            continue
        pairs += 1
        mean_length = sum(abs(x) for x in row) / d
        for j in range(d):
            gradient[j] += delta * row[j] / mean_length**2
    if pairs == 0:
        return list(centre)
    return [centre[j] + options["learning_rate"] * gradient[j] / pairs for j in range(d)]


def nes_ask(options, seed, step, remembered):
    """c + r e_i, then c - r e_i."""
    centre, r = remembered
    noise = nes_noise(options, seed, step, len(centre))
    return [[centre[j] + r * row[j] for j in range(len(centre))] for row in noise] + [
        [centre[j] - r * row[j] for j in range(len(centre))] for row in noise
    ]


def nes_noise(options, seed, step, d):
    half = options["population"] // 2
    return table(normals(seed, step, "nes/steps", half * d), d)


def nes_tell(options, seed, step, remembered, scores):
    """The next centre and radius: sums over samples, as the definition has them."""
    centre, r = remembered
    d = len(centre)
    scores = usable(scores)
    noise = nes_noise(options, seed, step, d)
    half = len(noise)
    gradient, spread, samples = [0.0] * d, 0.0, 0
    for i in range(half):
        if math.isnan(scores[i]) or math.isnan(scores[half + i]):
            continue
        for sign, s in ((1.0, scores[i]), (-1.0, scores[half + i])):
            samples += 1
            for j in range(d):
                e = sign * noise[i][j]
                gradient[j] += s * e / r
                spread += s * (e**2 - 1.0) / d
    if samples == 0:
        return list(centre), r
    centre = [centre[j] + options["learning_rate"] * gradient[j] / samples for j in range(d)]
    r = r + options["radius_learning_rate"] * (spread / samples) / r
    return centre, max(options["least_radius"], r)


# The score functions


def hill(code):
    """A sphere and a slope: best at x_j = (j - 2) / 4."""
    return sum(-(x**2) + 0.5 * (j - 2) * x for j, x in enumerate(code))


def slope(code):
    """Linear."""
    return sum((0.3 - 0.2 * j) * x for j, x in enumerate(code))


SCORES = {"hill": hill, "slope": slope}

# Places (generation, code) whose score is replaced.
SOME = {(0, 3): NAN, (1, 3): NAN, (2, 0): NAN, (2, 6): NAN, (4, 5): NAN}
NONE = {(1, i): NAN for i in range(8)}
ODD = {(0, 1): math.inf, (1, 4): -math.inf, (2, 2): 1e6, (3, 0): NAN, (3, 5): math.inf}
D, GENERATIONS = 6, 6

GENETIC = {
    "population": 8,
    "mutation_rate": 0.5,
    "mutation_size": 0.5,
    "selectivity": 2.0,
    "heritability": 0.5,
    "elites": 0,
}
FDGD = {"population": 8, "search_radius": 1.25, "learning_rate": 1.25}
NES = {
    "population": 8,
    "search_radius": 1.25,
    "learning_rate": 1.75,
    "radius_learning_rate": 0.05,
    "least_radius": 0.01,
}
SLOW = {"learning_rate": 0.1}
SMALL = {"search_radius": 0.1, "least_radius": 0.3, "learning_rate": 0.1, "radius_learning_rate": 0.3}
LARGE_SEED = 2**63 - 12345

CASES = {
    "genetic": [
        ("as published", 0, GENETIC, "hill", {}),
        ("some unseen, one elite", 7, GENETIC | {"elites": 1}, "hill", SOME),
        (
            "a generation unseen, three elites, a large seed",
            LARGE_SEED,
            GENETIC | {"elites": 3},
            "hill",
            NONE,
        ),
        (
            "heritability below a half",
            3,
            GENETIC | {"heritability": 0.125, "mutation_rate": 0.25},
            "slope",
            {},
        ),
        ("underflowed probabilities", 4, GENETIC | {"selectivity": 3000.0}, "hill", {}),
        ("no selection", 5, GENETIC | {"selectivity": 0.0, "population": 7}, "hill", SOME),
        ("strong selection, outliers", 6, GENETIC | {"selectivity": 6.0, "elites": 2}, "hill", ODD),
    ],
    "fdgd": [
        ("as published", 0, FDGD, "slope", {}),
        ("an odd population, a large seed", LARGE_SEED, FDGD | {"population": 7} | SLOW, "hill", {}),
        ("some unseen", 7, FDGD | SLOW, "hill", SOME),
        ("a generation unseen", 3, FDGD | SLOW, "hill", NONE),
        ("outliers", 4, FDGD | SLOW, "hill", ODD),
    ],
    "nes": [
        ("as published", 0, NES, "slope", {}),
        ("an odd population, a large seed", LARGE_SEED, NES | {"population": 7} | SLOW, "hill", {}),
        ("some unseen", 7, NES | SLOW, "hill", SOME),
        ("a generation unseen", 3, NES | SLOW, "hill", NONE),
        ("outliers", 4, NES | SLOW, "hill", {place: s for place, s in ODD.items() if s != 1e6}),
        ("a small first radius", 5, NES | SMALL, "hill", SOME),
    ],
}


def trajectory(name, seed, options, score, replaced):
    """Codes and scores of every generation, the codes that follow the last, and the radius of `nes`."""
    n = options["population"]
    if name == "genetic":
        remembered = table(normals(seed, 0, "initial codes", n * D), D)
        ask, tell = (lambda _options, _seed, _step, codes: codes), genetic_tell
    elif name == "fdgd":
        remembered = [0.0] * D
        ask, tell = fdgd_ask, fdgd_tell
    else:
        remembered = ([0.0] * D, max(options["search_radius"], options["least_radius"]))
        ask, tell = nes_ask, nes_tell
    asked, told, radii = [], [], []
    for step in range(GENERATIONS + 1):
        codes = ask(options, seed, step, remembered)
        asked.append(codes)
        if name == "nes":
            radii.append(remembered[1])
        if step == GENERATIONS:
            break
        scores = [replaced.get((step, i), SCORES[score](code)) for i, code in enumerate(codes)]
        told.append(scores)
        remembered = tell(options, seed, step, remembered, scores)
    return {"codes": asked, "scores": told} | ({"radii": radii} if radii else {})


def golden(name):
    """All trajectories of one optimizer."""
    return {
        "provenance": "tests/golden/derivation.py: plain Python, float64, written from the published "
        "definitions without the package; rewritten by `python tests/golden/derivation.py`. NaN = unseen.",
        "cases": [
            {"case": case, "seed": seed, "dim": D, "options": options}
            | trajectory(name, seed, options, score, replaced)
            for case, seed, options, score, replaced in CASES[name]
        ],
    }


def written(trajectories):
    """One case a line."""
    cases = ",\n".join(json.dumps(case) for case in trajectories["cases"])
    return f'{{"provenance": {json.dumps(trajectories["provenance"])},\n"cases": [\n{cases}\n]}}\n'


if __name__ == "__main__":
    for name in CASES:
        path = Path(__file__).parent / f"{name}.json"
        path.write_text(written(golden(name)))
