"""Every subject passes the suite, and the suite finds faults.

A service does in networks/test_service.py, a model of timm in networks/test_timm.py.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xdream import testing
from xdream.experiment.assemble import assemble
from xdream.experiment.plan import Plan

sys.path += [str(Path(__file__).parents[1] / place) for place in ("networks", "networks/caffe")]
import caffe_networks
from caffe_files import write
from test_onnx_file import make

SIZE = 39


def redness(images):
    return (images[:, :1] - images[:, 1:2]).mean((2, 3))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subjects")
    files = write(folder, caffe_networks.inception(1, SIZE))
    rng = np.random.default_rng(0)
    weights = {"w": (5, 3, 3, 3), "b": (5,), "m": (4, 5)}
    onnx = make(folder / "a.onnx", {k: rng.normal(size=s).astype(np.float32) for k, s in weights.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which many have
        module = torch.jit.trace(torch.nn.Conv2d(3, 4, 3, 2), torch.zeros(1, 3, 12, 12))
        torch.jit.save(module, folder / "a.pt")
    Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(folder / "a.png")
    return {
        "caffe": f"caffe:{files[0]}",
        "onnx": onnx,
        "file": f"file:{folder}/a.pt",
        "png": folder / "a.png",
    }


TARGETS = [
    "known:linear::0,4",
    "known:energy::0",
    "known:gaussian::2",
    "match:{png}::0",
    "match:{png}:efficientnet-lite0:_blocks.1:0",
    "efficientnet-lite0:_blocks.2:0-3",
    "efficientnet-lite0:_fc:7",
    "caffe:a1_concat:0,3",
    "caffe:prob:all",
    "onnx:relu:1@0,3",
    "onnx::all",
    "file::2",
    "python:test_check_subject:redness::0",
]


@pytest.mark.parametrize("target", TARGETS)
def test_every_subject_passes(places, target):
    target = target.replace("{png}", str(places["png"]))
    for scheme in ("caffe", "onnx", "file"):
        target = (
            target.replace(f"{scheme}:", f"{places[scheme]}:", 1) if target.startswith(scheme) else target
        )
    preprocessing = {
        network: {"size_px": (12, 12)} for network in (places["onnx"], places["file"]) if network in target
    }
    plan = Plan.make(
        targets=[target],
        generator={"name": "pixels", "size_px": SIZE},
        preprocessing=preprocessing,
        presentations=100,
        threads=1,
    )
    [subject] = assemble(plan).forward.subjects
    testing.check_subject(subject, SIZE)


class Good:
    name, units, warnings = "good", ("a", "b"), ()

    def respond(self, images):
        x = images.to(torch.float64)
        return torch.stack((x.mean((1, 2, 3)), x[:, 0, 0, 0]), 1)


class Noisy(Good):
    def respond(self, images):
        return super().respond(images) + torch.rand(1)


class OfItsCompany(Good):
    def respond(self, images):
        found = super().respond(images)
        return found - found.mean()


class Single(Good):
    def respond(self, images):
        return super().respond(images).to(torch.float32)


class Sorted(Good):
    def respond(self, images):
        return super().respond(images).sort(0).values


class Changing(Good):
    def respond(self, images):
        found = super().respond(images)
        images.clamp_(10, 20)
        return found


class OneTooMany(Good):
    units = ("a", "b", "c")


class Doubled(Good):
    units = ("a", "a")


class ByMemory(Good):
    def respond(self, images):
        return super().respond(images) + (0.0 if images.is_contiguous() else 9.0)


class Infinite(Good):
    def respond(self, images):
        return super().respond(images) / 0.0


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        (Noisy, "the same images had other responses"),
        (OfItsCompany, "another response alone"),
        (Single, "float32 instead of float64"),
        (Sorted, "do not follow their images"),
        (Changing, "changed the images"),
        (OneTooMany, r"gave \(5, 2\) instead of \(5, 3\)"),
        (Doubled, "its units are"),
        (ByMemory, "how the images lie in memory"),
        (Infinite, "infinite"),
    ],
)
def test_faults_are_found(subject, said):
    testing.check_subject(Good(), 8)
    with pytest.raises(AssertionError, match=said):
        testing.check_subject(subject(), 8)
