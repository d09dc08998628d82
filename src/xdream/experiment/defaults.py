"""Default hyperparameters, one table keyed by (generator, optimizer, noise).

The figures of the DeePSiM generators are the published ones (Xiao & Kreiman 2020, "Methods"); those tuned
for the noisy case were not published, so the same serve there. Those of `fourier` are the better ones of a
coarse look without noise (`benches/defaults.py`); where settings did as well as each other, the one that
lets codes drift less. Those of `pixels` are the same on the scale of its initial codes, whose standard
deviation is a quarter: sizes and radii by 4, rates by 16. Those of `natural-v1` come from `xdream tune`
(`benches/tuning.py`), and serve for every learned generator, whose codes are all whitened. A generator that
is not in the table takes the optimizer's own defaults, which are those of fc6.
"""

from __future__ import annotations

from typing import Any

Hyperparameters = dict[str, Any]


def _genetic(n: int, m: float, v: float, q: float, h: float = 0.5, e: int = 0) -> Hyperparameters:
    return {
        "population": n,
        "mutation_rate": m,
        "mutation_size": v,
        "selectivity": q,
        "heritability": h,
        "elites": e,
    }


def _fdgd(n: int, r: float, rate: float) -> Hyperparameters:
    return {"population": n, "search_radius": r, "learning_rate": rate}


def _nes(n: int, r: float, rate: float, k: float = 0.05, least: float = 0.01) -> Hyperparameters:
    return _fdgd(n, r, rate) | {"radius_learning_rate": k, "least_radius": least}


#: In recordings the best image is kept (Ponce et al. 2019).
RECORDED_ELITES = 1

_OPTIMIZERS: dict[str, Hyperparameters] = {
    "genetic": _genetic(20, 0.5, 0.5, 2.0),
    "fdgd": _fdgd(20, 1.25, 1.25),
    "nes": _nes(20, 1.25, 1.75),
}

#: (generator, optimizer, noise) -> hyperparameters; noise None: with noise and without.
_TABLE: dict[tuple[str, str, bool | None], Hyperparameters] = {
    ("natural-v1", "genetic", False): _genetic(10, 0.1, 0.5, 1.0, 0.7),
    ("natural-v1", "genetic", True): _genetic(20, 0.1, 0.5, 2.0, 0.7),
    ("natural-v1", "fdgd", False): _fdgd(40, 1.25, 0.893),
    ("natural-v1", "fdgd", True): _fdgd(80, 0.625, 0.625),
    ("natural-v1", "nes", False): _nes(20, 0.625, 0.4375, 0.2),
    ("natural-v1", "nes", True): _nes(80, 2.5, 1.75, 0.2),
    ("fourier", "genetic", None): _genetic(20, 0.25, 0.5, 2.0),
    ("fourier", "fdgd", None): _fdgd(20, 0.5, 1.5),
    ("fourier", "nes", None): _nes(20, 0.5, 0.5),
    ("pixels", "genetic", None): _genetic(20, 0.25, 0.125, 2.0),
    ("pixels", "fdgd", None): _fdgd(20, 0.125, 0.1),
    ("pixels", "nes", None): _nes(20, 0.125, 0.03, 0.003),
    ("deepsim-norm1", "genetic", None): _genetic(15, 1.0, 1.5, 2.0),
    ("deepsim-norm2", "genetic", None): _genetic(10, 0.5, 0.7, 4.0),
    ("deepsim-conv3", "genetic", None): _genetic(12, 0.65, 0.75, 2.25),
    ("deepsim-conv4", "genetic", None): _genetic(10, 0.9, 0.75, 2.5),
    ("deepsim-pool5", "genetic", None): _genetic(10, 0.6, 1.0, 2.5, 0.75),
    ("deepsim-fc6", "genetic", None): _genetic(20, 0.5, 0.5, 2.0),
    ("deepsim-fc7", "genetic", None): _genetic(45, 0.6, 0.3, 1.25),
    ("deepsim-fc8", "genetic", None): _genetic(20, 0.2, 0.6, 2.0),
}


def hyperparameters(generator: str, optimizer: str, *, noisy: bool) -> Hyperparameters:
    """The defaults for this combination: its own, else the optimizer's, else none (an optimizer from
    elsewhere brings its own)."""
    for key in ((generator, optimizer, noisy), (generator, optimizer, None)):
        if key in _TABLE:
            return dict(_TABLE[key])
    return dict(_OPTIMIZERS.get(optimizer, {}))
