"""The paper's architectures as timm has them, from random weights."""

import importlib

import numpy as np
import pytest
import torch

import xdream
from xdream import networks, testing
from xdream.errors import BadInput, WeightsInvalid, WeightsMissing
from xdream.experiment.assemble import assemble
from xdream.experiment.plan import Plan

# Of the paper's targets; CaffeNet and its sister for places are not in timm.
PAPER = {
    "resnetv2_101": ("stages.2.blocks.10", (1024, 14, 14), 224),
    "resnetv2_152": ("stages.2.blocks.20", (1024, 14, 14), 224),
    "inception_v3": ("Mixed_6a", (768, 17, 17), 299),
    "inception_v4": ("features.3", (160, 73, 73), 299),
    "inception_resnet_v2": ("mixed_6a", (1088, 17, 17), 299),
    "densenet169": ("features.denseblock4.denselayer31", (32, 7, 7), 224),
}


pytestmark = pytest.mark.usefixtures("torchvision")


@pytest.mark.filterwarnings("ignore")  # timm's own
@pytest.mark.parametrize("name", PAPER)
def test_an_architecture_of_the_paper_is_a_target(name, tmp_path):
    layer, shape, size = PAPER[name]
    plan = Plan.make(
        targets=[f"timm:{name}?random:{layer}:3"],
        generator={"name": "pixels", "size_px": 16},
        optimizer={"name": "genetic", "population": 2},
        presentations=2,
        batch=2,
        threads=1,
    )
    record = xdream.run(plan, tmp_path / "x")
    assert np.isfinite(record.scores(0)).all()
    assert networks.weights.RANDOM in record.facts["notes"]
    [run] = record.runs()
    assert run.target == f"timm:{name}?random:{layer}:3@{shape[1] // 2},{shape[2] // 2}"
    assert networks.load(f"timm:{name}", random_weights=0).preprocessing.size_px == (size, size)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layer", ["layer2.0", ""])
def test_it_is_a_subject_like_every_other(layer):
    plan = Plan.make(
        targets=[f"timm:test_resnet?random:{layer}:0,3"],
        generator={"name": "pixels", "size_px": 40},
        presentations=100,
        threads=1,
    )
    [subject] = assemble(plan).forward.subjects
    testing.check_subject(subject, 40)


@pytest.mark.filterwarnings("ignore")
def test_weights_of_a_file(tmp_path):
    model = importlib.import_module("timm").create_model("test_resnet", pretrained=False)
    path = tmp_path / "weights.pt"
    torch.save(model.state_dict(), path)
    network = networks.load(f"timm:test_resnet?weights={path}")
    assert networks.fingerprint(network.module) == networks.fingerprint(model)
    assert network.warnings == ()
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(WeightsInvalid, match="has no tensor"):
        networks.load(f"timm:test_resnet?weights={path}")
    with pytest.raises(WeightsMissing, match="no weights file"):
        networks.load(f"timm:test_resnet?weights={tmp_path}/gone.pt")
    with pytest.raises(BadInput, match=r"after the \? stands pretrained, random or weights=FILE, not 'x'"):
        networks.load("timm:test_resnet?x")
