"""Generators that a user names: a Python callable, a program in a file, a graph in an ONNX file."""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import xdream
from xdream.cli.main import main
from xdream.errors import BadInput, WeightsInvalid, WeightsMissing
from xdream.experiment.plan import Plan, plan_of
from xdream.generators import GENERATORS
from xdream.store import Record
from xdream.testing import check_generator

MODULE = """
import torch
from torch import nn

class Up(nn.Module):
    def __init__(self, d=6, size=8):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.size = nn.Linear(d, 3 * size * size), size

    def forward(self, codes):
        return torch.tanh(self.linear(codes)).reshape(-1, 3, self.size, self.size)

class Normalised(Up):
    def forward(self, codes):
        images = super().forward(codes)
        return images - images.mean(0, keepdim=True)

def network(size: int = 8):
    return Up(6, size)

def blocks(codes, contrast: float = 0.5):
    return (0.5 + contrast * torch.sin(codes[:, :3])).reshape(-1, 3, 1, 1).expand(-1, 3, 8, 8).contiguous()

def latent_and_class(z, y):
    return torch.sigmoid(z[:, :3] + y[:, :3]).reshape(-1, 3, 1, 1).repeat(1, 1, 8, 8)

def scaled(z, index, truncation):
    return torch.sigmoid(truncation * z[:, :3] + index[:, None]).reshape(-1, 3, 1, 1).repeat(1, 1, 8, 8)

def levels(codes):
    return 127.5 + 127.5 * torch.sin(codes[:, :3]).reshape(-1, 3, 1, 1).repeat(1, 1, 8, 8)

def oblong(codes):
    return torch.rand_like(codes[:, :1, None, None]).expand(-1, 3, 8, 4)

def last(codes):
    return torch.sigmoid(codes[:, :3]).reshape(-1, 1, 1, 3).repeat(1, 8, 8, 1)

def grey(codes):
    return torch.sigmoid(codes[:, :1]).reshape(-1, 1, 1, 1).repeat(1, 1, 8, 8)

def nothing(codes):
    return torch.full((len(codes), 3, 8, 8), torch.nan)

def noise(codes):
    return torch.rand(len(codes), 3, 8, 8)

def one_row(codes):
    return levels(codes)[:1] / 255

def pair(codes):
    return levels(codes) / 255, codes

def whole(codes):
    return levels(codes).to(torch.uint8)

def batch_dependent():
    return Normalised()

def itself():
    from xdream.generators import GENERATORS
    return GENERATORS.make("pixels", size_px=8)

def text():
    return "an image"

def breaks():
    raise RuntimeError("the disk is gone")
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_gans.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_gans", raising=False)


def make(what: str, **table: Any) -> Any:
    return GENERATORS.make(f"python:my_gans:{what}", **table)


def codes_of(generator: Any, n: int = 4) -> torch.Tensor:
    found: torch.Tensor = generator.initial.draw(torch.tensor([3]), n)[0]
    return found


# ------------------------------------------------------------------ a Python callable


def test_a_function_of_codes_is_a_generator() -> None:
    generator = make("blocks", code_size=5)
    check_generator(generator)
    codes = codes_of(generator)
    wanted = (0.5 + 0.5 * np.sin(codes.numpy()[:, :3]))[:, :, None, None].repeat(8, 2).repeat(8, 3)
    np.testing.assert_allclose(generator(codes).numpy(), wanted, atol=1e-6)
    assert generator.differentiable
    assert (generator.image_size_px, generator.code_shape, generator.name) == (
        8,
        (5,),
        "python:my_gans:blocks",
    )


def test_options_are_passed_on_to_the_function_and_to_a_factory() -> None:
    flat = make("blocks", code_size=3, contrast=0.0)
    assert float((flat(codes_of(flat)) - 0.5).abs().max()) == 0.0
    assert make("network", code_size=6, size=16, output_range=[-1, 1]).image_size_px == 16
    with pytest.raises(BadInput, match="contrast is 'high'; it must be a number"):
        make("blocks", code_size=3, contrast="high")


def test_a_module_is_scaled_from_its_range_and_its_weights_are_its_fingerprint() -> None:
    generator = make("network", code_size=6, output_range=[-1, 1])
    codes = codes_of(generator)
    raw = generator.raw(codes)
    assert float(raw.min()) < 0.0
    torch.testing.assert_close(generator(codes), (raw + 1.0) / 2.0)
    before = generator.fingerprint
    assert before == make("network", code_size=6, output_range=[-1, 1]).fingerprint
    assert before != make("network", code_size=6, size=16, output_range=[-1, 1]).fingerprint
    assert isinstance(generator.module, nn.Module)  # which an engine can take


def test_a_generator_that_describes_itself_is_taken_as_it_is() -> None:
    assert make("itself").code_shape == (3, 8, 8)
    with pytest.raises(BadInput, match="describes itself; leave out code_size"):
        make("itself", code_size=192)


def test_several_inputs_share_a_code() -> None:
    generator = make(
        "latent_and_class",
        inputs=[
            {"code_size": 4, "initial": "truncated", "truncation": 1.0, "scale": 0.5},
            {"code_size": 3, "given": "one-hot", "initial": "uniform"},
        ],
    )
    codes = codes_of(generator, 50)
    assert codes.shape == (50, 7)
    assert float(codes[:, :4].abs().max()) <= 0.5
    one_hot = torch.nn.functional.one_hot(codes[:, 4:].argmax(1), 3)
    torch.testing.assert_close(generator(codes)[:, :, 0, 0], torch.sigmoid(codes[:, :3] + one_hot))


def test_an_input_may_be_the_same_for_every_image() -> None:
    table = [{"code_size": 3}, {"value": 2, "given": "index"}, {"value": 0.5}]
    generator = make("scaled", inputs=table)
    codes = codes_of(generator)
    assert codes.shape == (4, 3)
    torch.testing.assert_close(generator(codes)[:, :, 0, 0], torch.sigmoid(0.5 * codes + 2.0))


@pytest.mark.parametrize(
    ("what", "table", "channels"),
    [("last", {"layout": "NHWC", "channels": "BGR"}, [2, 1, 0]), ("grey", {"channels": "grey"}, [0, 0, 0])],
)
def test_the_order_of_axes_and_channels_is_that_of_the_table(
    what: str, table: dict[str, Any], channels: list[int]
) -> None:
    generator = make(what, code_size=3, **table)
    codes = codes_of(generator)
    torch.testing.assert_close(generator(codes)[:, :, 3, 5], torch.sigmoid(codes[:, channels]))


def test_one_of_several_results_is_picked() -> None:
    assert make("pair", code_size=3, output=0).image_size_px == 8


# ------------------------------------------------------------------ what is refused, with what was found


@pytest.mark.parametrize(
    ("what", "table", "words"),
    [
        ("blocks", {}, "how many numbers are its codes"),
        ("blocks", {"code_size": 0}, "code_size is 0; it must be a whole number of at least 1"),
        ("network", {"code_size": 2}, "failed when it was given \\(3, 2\\) float32"),
        ("blocks", {"code_size": 5, "image_size_px": 64}, "are of 8 px; image_size_px asks for 64"),
        ("blocks", {"code_size": 5, "sharpness": 1}, "no option 'sharpness'; .* takes: codes, contrast"),
        ("latent_and_class", {"code_size": 3}, "needs the parameter z .*it has 1 input\\)"),
        ("network", {"code_size": 6}, r"run from -0\.\d+ to 0\.\d+, and .* is \[0, 1\]; .* \[-1, 1\]"),
        ("levels", {"code_size": 3}, r"output_range is \[0, 1\]; declare output_range = \[0, 255\]"),
        ("blocks", {"code_size": 3, "output_range": [0, 255]}, r"declare output_range = \[0, 1\]"),
        ("blocks", {"code_size": 3, "output_range": [1, 1]}, "two numbers, those of black and of white"),
        ("oblong", {"code_size": 3}, r"gave \(3, 3, 8, 4\) for 3 codes, .*must be square"),
        ("last", {"code_size": 3}, 'declare layout = "NHWC"'),
        ("grey", {"code_size": 3}, 'declare channels = "grey"'),
        ("nothing", {"code_size": 3}, "NaN or inf"),
        ("noise", {"code_size": 3}, "the same codes made other images"),
        ("one_row", {"code_size": 3}, "the first axis must be the codes"),
        ("pair", {"code_size": 3}, "it gave 2 results; .*output = NUMBER"),
        ("pair", {"code_size": 3, "output": 7}, "output is 7, but it gave 2 results"),
        ("whole", {"code_size": 3}, "type torch.uint8"),
        ("batch_dependent", {"code_size": 6, "output_range": [-1, 1]}, "another image alone than beside"),
        ("text", {"code_size": 3}, "returned a str"),
        ("breaks", {}, "failed when it was called: .*the disk is gone"),
        ("missing", {}, "has no function 'missing'"),
        ("blocks", {"code_size": 3, "initial": "flat"}, "initial is 'flat'; it must be 'normal'"),
        ("blocks", {"code_size": 3, "truncation": 2.0}, 'truncation goes with initial = "truncated"'),
        ("blocks", {"code_size": 3, "initial": "file"}, "needs file"),
        ("blocks", {"code_size": 3, "mean": [0.0, 1.0]}, "mean has 2 numbers; code_size asks for 3"),
        ("blocks", {"code_size": 3, "low": 0.0}, "low and high go together"),
        ("blocks", {"code_size": 3, "low": 1.0, "high": 0.0}, "low must be below high"),
        ("blocks", {"code_size": 3, "codes": "box"}, "declares no bounds .*low and high"),
        ("blocks", {"code_size": 3, "inputs": [{"code_size": 3}]}, "inputs and code_size are both given"),
        ("blocks", {"inputs": [{"code_size": 3, "value": 1}]}, r"inputs\[0\]: give code_size, or a value"),
        ("blocks", {"inputs": [{"sizes": 3}]}, r"inputs\[0\]: sizes: unknown key"),
        ("blocks", {"inputs": [{"value": 1}]}, "no input gets a part of the code"),
        ("blocks", {"inputs": 3}, "inputs is 3; it must be a list of tables"),
    ],
)  # fmt: skip
def test_what_is_no_generator_is_refused_with_what_was_found(
    what: str, table: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInput, match=words) as raised:
        make(what, **table)
    assert f"python:my_gans:{what}" in str(raised.value)


def test_a_module_that_is_not_there_is_said() -> None:
    with pytest.raises(BadInput, match=r"cannot import 'no_such_module'.*PYTHONPATH"):
        GENERATORS.make("python:no_such_module:gan", code_size=3)
    with pytest.raises(BadInput, match="incomplete; write python:MODULE:FUNCTION"):
        GENERATORS.make("python:gan", code_size=3)


# ------------------------------------------------------------------ initial codes


def drawn(**table: Any) -> torch.Tensor:
    generator = make("blocks", code_size=3, **table)
    check_generator(generator)
    codes = codes_of(generator, 4000)
    # What a distribution says of itself is what its draws have.
    torch.testing.assert_close(codes.mean(0), generator.initial.mean, atol=0.1, rtol=0.0)
    torch.testing.assert_close(codes.std(0), generator.initial.std, atol=0.05, rtol=0.05)
    assert torch.equal(generator.centre, generator.initial.mean)
    return codes


def test_initial_codes_are_distributed_as_the_table_says(tmp_path: Path) -> None:
    torch.testing.assert_close(drawn(mean=2.0, scale=0.5).std(0), torch.full((3,), 0.5), atol=0.05, rtol=0.0)
    uniform = drawn(initial="uniform", low=[0.0, 1.0, 2.0], high=[1.0, 3.0, 5.0])
    assert bool((uniform.amin(0) >= torch.tensor([0.0, 1.0, 2.0])).all())
    assert bool((uniform.amax(0) <= torch.tensor([1.0, 3.0, 5.0])).all())
    truncated = drawn(initial="truncated", truncation=1.5, scale=2.0)
    assert 2.9 < float(truncated.abs().max()) <= 3.0
    covariance = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 0.25]])
    np.save(tmp_path / "c.npy", covariance)
    np.testing.assert_allclose(
        np.cov(drawn(covariance=str(tmp_path / "c.npy")).T.numpy()), covariance, atol=0.1
    )
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", codes=rows)
    found = drawn(initial="file", file=str(tmp_path / "rows.npz"))
    assert {tuple(row) for row in found.tolist()} == {tuple(row) for row in rows.tolist()}


@pytest.mark.parametrize(
    ("array", "key", "words"),
    [
        (np.eye(2), "covariance", r"shape \(2, 2\); \(3, 3\) is needed"),
        (np.ones((3, 3)), "covariance", "not positive definite"),
        (np.arange(9.0).reshape(3, 3), "covariance", "not symmetric"),
        (np.zeros((30, 3)), "file", "all the same"),
        (np.zeros((5, 3)), "file", r"\(at least 20, 3\) is needed"),
        (np.full((30, 3), np.nan), "file", "not finite"),
        (np.array(["a"]), "file", "cannot be read"),
    ],
)
def test_a_file_of_the_table_that_does_not_fit_is_refused(
    tmp_path: Path, array: Any, key: str, words: str
) -> None:
    np.save(tmp_path / "x.npy", array)
    table = {"initial": "file"} if key == "file" else {}
    with pytest.raises(BadInput, match=words):
        make("blocks", code_size=3, **table, **{key: str(tmp_path / "x.npy")})
    with pytest.raises(BadInput, match="cannot be read"):
        make("blocks", code_size=3, **table, **{key: str(tmp_path / "gone.npy")})


# ------------------------------------------------------------------ where codes live


def test_a_box_keeps_codes_within_the_bounds_of_the_table_or_a_radius() -> None:
    bounded = make("blocks", code_size=3, initial="uniform", low=-0.5, high=0.5, codes="box")
    codes = torch.tensor([[9.0, 0.1, -9.0]])
    torch.testing.assert_close(bounded.brought(codes), torch.tensor([[0.5, 0.1, -0.5]]))
    check_generator(bounded)
    by_radius = make("blocks", code_size=3, mean=1.0, scale=0.5, codes="box", radius=2.0)
    torch.testing.assert_close(by_radius.brought(codes), torch.tensor([[2.0, 0.1, 0.0]]))
    with pytest.raises(BadInput, match=r"bounds of its own.*leave out radius"):
        make("blocks", code_size=3, low=-1.0, high=1.0, codes="box", radius=2.0)
    pixels: Any = GENERATORS.make("pixels", size_px=8, codes="box", radius=2.0)  # 0.5 ± 2 · 0.25
    assert (float(pixels.brought(codes[:, :1].expand(1, 192)).max()), float(pixels.centre[0])) == (1.0, 0.5)


# ------------------------------------------------------------------ programs in files


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(1)
    up = nn.Sequential(
        nn.Linear(6, 48), nn.Unflatten(1, (3, 4, 4)), nn.Upsample(scale_factor=2), nn.Sigmoid()
    )
    return up.eval()


@pytest.fixture
def programs(tmp_path: Path, network: nn.Module) -> dict[str, Path]:
    example = torch.zeros(2, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about writing these formats
        torch.jit.save(torch.jit.trace(network, example), tmp_path / "script.pt")
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
        torch.export.save(program, tmp_path / "program.pt2")
    return {"script": tmp_path / "script.pt", "program": tmp_path / "program.pt2"}


@pytest.mark.parametrize("kind", ["script", "program"])
def test_a_program_in_a_file_is_a_generator(programs: dict[str, Path], network: nn.Module, kind: str) -> None:
    generator: Any = GENERATORS.make(f"file:{programs[kind]}", code_size=6)
    check_generator(generator)
    codes = codes_of(generator)
    torch.testing.assert_close(generator(codes), network(codes))
    assert generator.fingerprint == GENERATORS.make(f"file:{programs[kind]}", code_size=6).fingerprint


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="no generator file"):
        GENERATORS.make(f"file:{tmp_path}/gone.pt", code_size=6)
    (tmp_path / "bad.pt").write_bytes(b"x" * 100)
    with pytest.raises(WeightsInvalid, match="cannot read generator file"):
        GENERATORS.make(f"file:{tmp_path}/bad.pt", code_size=6)


def test_a_file_takes_no_options_of_its_own(programs: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match="no option 'sharpness'; it takes: code_size"):
        GENERATORS.make(f"file:{programs['script']}", code_size=6, sharpness=1)


def save_onnx(path: Path, batch: int | str = "n", second: bool = False) -> str:
    rng = np.random.default_rng(0)
    given = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, 6])]
    constants = [
        numpy_helper.from_array(rng.normal(size=(6, 192)).astype(np.float32), "w"),
        numpy_helper.from_array(np.array([-1, 3, 8, 8], dtype=np.int64), "shape"),
    ]
    nodes = [helper.make_node("MatMul", ["z", "w"], ["flat"])]
    if second:
        given.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 192]))
        nodes.append(helper.make_node("Add", ["flat", "y"], ["sum"]))
    nodes += [
        helper.make_node("Reshape", [nodes[-1].output[0], "shape"], ["planes"]),
        helper.make_node("Sigmoid", ["planes"], ["images"]),
    ]
    out = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, 8, 8])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", given, out, constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.save(model, path)
    return f"onnx:{path}"


@pytest.mark.parametrize("batch", ["n", 1, 3])
def test_a_graph_in_an_onnx_file_is_a_generator(tmp_path: Path, batch: int | str) -> None:
    generator: Any = GENERATORS.make(save_onnx(tmp_path / "g.onnx", batch), code_size=6)
    check_generator(generator)
    codes = codes_of(generator, 5)
    w = np.random.default_rng(0).normal(size=(6, 192)).astype(np.float32)
    wanted = 1.0 / (1.0 + np.exp(-(codes.numpy() @ w).reshape(5, 3, 8, 8)))
    np.testing.assert_allclose(generator(codes).numpy(), wanted, atol=1e-5)
    assert not generator.differentiable


def test_inputs_of_a_graph_are_found_by_name(tmp_path: Path) -> None:
    name = save_onnx(tmp_path / "g.onnx", second=True)
    table = [{"name": "y", "code_size": 192, "scale": 0.1}, {"name": "z", "code_size": 6}]
    generator: Any = GENERATORS.make(name, inputs=table)
    assert codes_of(generator).shape == (4, 198)
    for wrong, words in (
        ({"code_size": 6}, r"its inputs are z \(n, 6\) float, y \(n, 192\) float; 1 are declared"),
        ({"inputs": [{"name": "x", "code_size": 6}, {"code_size": 6}]}, "no input 'x'"),
        ({"inputs": [{"code_size": 7}, {"code_size": 192}]}, "input z is .* give code_size = 6"),
        ({"inputs": table, "output": "flat"}, "no output 'flat'; its outputs are images"),
    ):
        with pytest.raises(BadInput, match=words):
            GENERATORS.make(name, **wrong)


# ------------------------------------------------------------------ in an experiment


def test_a_plan_with_a_generator_of_ones_own_runs_and_resumes_from_elsewhere(
    programs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("c.npy", np.eye(6))
    text = """
targets = ["known:linear::0"]
optimizer = {name = "genetic", population = 4}
presentations = 8

[generator]
name = "file:script.pt"
inputs = [{code_size = 6, covariance = "c.npy"}]
codes = "ball"
"""
    plan = Plan.from_toml(text)
    with xdream.run(plan, tmp_path / "x") as record:
        kept = plan_of(record).generator
        assert kept.name == f"file:{programs['script']}"
        assert kept.options["inputs"][0]["covariance"] == str(tmp_path / "c.npy")
    monkeypatch.chdir("/")
    again = plan_of(Record(tmp_path / "x"))
    assert GENERATORS.make(again.generator.name, **again.generator.options).image_size_px == 8


class Stopped(BaseException):
    pass


def test_a_file_that_changed_is_noticed_on_resume(programs: dict[str, Path], tmp_path: Path) -> None:
    from xdream.experiment.callbacks import NoCallback

    class Stop(NoCallback):
        def best(self, score: float) -> None:
            raise Stopped

    plan = Plan.make(
        targets="known:linear::0",
        generator={"name": f"file:{programs['script']}", "code_size": 6},
        optimizer={"name": "genetic", "population": 4},
        presentations=40,
    )
    with pytest.raises(Stopped):
        xdream.run(plan, tmp_path / "x", Stop())
    other = nn.Sequential(nn.Linear(6, 192), nn.Unflatten(1, (3, 8, 8)), nn.Sigmoid())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(other, torch.zeros(2, 6)), programs["script"])
    with pytest.raises(BadInput, match=r"the generator file:.*script\.pt has changed since"):
        xdream.resume(tmp_path / "x")


@pytest.mark.parametrize("kind", ["script", "onnx", "function"])
def test_an_engine_takes_what_it_can_and_says_what_it_cannot(
    programs: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    names = {
        "script": f"file:{programs['script']}",
        "onnx": save_onnx(tmp_path / "g.onnx"),
        "function": "python:my_gans:network",
    }
    table = {"output_range": [-1, 1]} if kind == "function" else {}
    plan = Plan.make(
        targets="known:linear::0",
        generator={"name": names[kind], "code_size": 6, **table},
        optimizer={"name": "genetic", "population": 4},
        presentations=8,
        engine="openvino",
    )
    with xdream.run(plan, tmp_path / "x") as record:
        notes = record.facts["notes"]
    assert ("onnxruntime computes a generator in an ONNX file" in notes) == (kind == "onnx")


def test_the_command_line_takes_one_and_python_too(
    programs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"file:{programs['script']}"
    given = ["--generator", name, "--set", "generator.code_size=6", "--out", str(tmp_path / "x")]
    usual = ["--presentations", "40", "--target", "known:linear::0", "--no-figures", "--quiet"]
    assert main(["evolve", *given, *usual]) == 0
    assert main(["evolve", "--generator", name, *usual]) == 2
    assert "how many numbers are its codes" in capsys.readouterr().err
    evolution = xdream.Evolution(name, generator_options={"code_size": 6})
    assert evolution.ask().codes.shape[1] == 6


def test_the_doctor_examines_a_generator(
    programs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"file:{programs['script']}"
    assert main(["doctor", "--generator", name, "--set", "generator.code_size=6"]) == 0
    said = capsys.readouterr().out
    assert "codes of 6 numbers, images of 8 px" in said
    assert "SHA-256" in said
    assert main(["doctor", "--generator", name]) == 2
    assert "broken  generator" in capsys.readouterr().out
    assert main(["doctor", "--generator", "nonsense"]) == 2
    assert main(["doctor", "--set", "generator.code_size=6"]) == 2
    assert "--set goes with --generator" in capsys.readouterr().err
    assert main(["doctor", "plan.toml", "--generator", name]) == 2
