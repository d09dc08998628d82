from pathlib import Path

import pytest

from study_tables import NETWORK
from xdream import networks
from xdream.errors import BadInput
from xdream.studies.places import DEPTHS, Place, candidates, places, short
from xdream.studies.plan import Shard, StudyPlan

LITE0 = "efficientnet-lite0"


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("efficientnet-lite0", "efficientnet-lite0"),
        ("caffe:/nets/caffenet", "caffenet"),
        ("caffe:/nets/resnet-152-v2.prototxt+/nets/weights.caffemodel", "resnet-152-v2"),
        ("timm:resnet50?weights=/nets/a.pth", "resnet50"),
        ("onnx:/nets/model.onnx", "model"),
        ("python:my.models:late", "my.models:late"),
    ],
)
def test_a_network_has_a_short_name(network: str, name: str) -> None:
    assert short(network) == name


def test_depths_of_a_known_network_are_its_layers() -> None:
    found = places(networks.load(LITE0, random_weights=0), DEPTHS)
    assert [(one.depth, one.layer) for one in found] == [
        ("early", "_blocks.1"), ("middle", "_blocks.6"), ("late", "_blocks.13"), ("output", "_fc"),
    ]  # fmt: skip


def test_depths_of_another_network_are_parts_of_all_its_layers() -> None:
    """Ten of them: conv1, relu1, conv2, relu2, conv3, grey, pool, flat, scores and the whole."""
    found = places(networks.load(NETWORK), DEPTHS)
    assert [one.layer for one in found] == ["conv2", "conv3", "flat", ""]


def test_layers_may_be_named() -> None:
    found = places(networks.load(NETWORK), ("conv3", "late=conv2"))
    assert [(one.depth, one.layer, one.shape) for one in found] == [
        ("conv3", "conv3", (16, 4, 4)), ("late", "conv2", (12, 8, 8)),
    ]  # fmt: skip
    with pytest.raises(BadInput, match="'conv9' is no depth"):
        places(networks.load(NETWORK), ("conv9",))


def test_fewer_units_are_the_first_of_more_and_lie_at_the_centre() -> None:
    place = Place("net", "late", "conv3", (16, 4, 4))
    assert candidates(place, 3) == candidates(place, 7)[:3]
    assert sorted(candidates(place, 99)) == sorted(f"{unit}@2,2" for unit in range(16))
    assert candidates(place, 16) != tuple(f"{unit}@2,2" for unit in range(16))
    assert candidates(place, "3,5-6") == ("3@2,2", "5@2,2", "6@2,2")
    with pytest.raises(BadInput, match="conv3:99"):
        candidates(place, "99")


def test_a_plan_expands_into_a_shard_per_layer() -> None:
    plan = StudyPlan.make(study="targets", networks=[NETWORK], layers=["conv1", "conv3"])
    assert [(shard.number, shard.place.layer) for shard in plan.shards()] == [(1, "conv1"), (2, "conv3")]
    assert Shard(1, Place("caffe:/a/net", "late", "a/b:c", (3,))).name == "net-a_b_c"


def test_a_layer_that_serves_several_depths_is_one_shard(tmp_path: Path) -> None:
    plan = StudyPlan.make(study="targets", networks=["python:tiny_encoder:outputs_only"], layers=list(DEPTHS))
    assert [(shard.place.depth, shard.place.layer) for shard in plan.shards()] == [("output", "")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"units": 0}, "units is 0"),
        ({"networks": ["a", "a"]}, "names one twice"),
        ({"networks": ["caffe:/x/net", "caffe:/y/net"]}, "both called net"),
        ({"presentation": 3}, "presentations"),
        ({"scale": "huge"}, "scale"),
        ({"seeds": 0}, "seeds"),
    ],
)
def test_a_wrong_plan_is_refused_with_its_key(changes: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        StudyPlan.make(**{"study": "targets"} | changes)
