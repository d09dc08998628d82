"""The command line: what users type, and what they get when they mistype."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xdream import networks, report
from xdream.cli import doctor, running
from xdream.cli import main as cli_main
from xdream.cli.main import main
from xdream.cli.progress import Bar
from xdream.experiment.defaults import hyperparameters
from xdream.generators import GENERATORS, cards, encode, layer_features
from xdream.images.references import load
from xdream.store import FILE_NAME, Record

QUICK = "--generator fourier --set generator.size_px=16 --set generator.cutoff_cycles=3.0 --quiet".split()


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"p{number}.png")
    return folder


def evolve(out, *flags, target="known:gaussian::0"):
    return main(["evolve", "--target", target, *QUICK, "--out", str(out), *map(str, flags)])


def last_json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(capsys, status, *words):
    """The command failed with one line on standard error that has all the words."""
    error = capsys.readouterr().err.strip()
    assert status == 2, error
    assert len(error.splitlines()) == 1, error
    assert error.startswith("xdream: ")
    for word in words:
        assert str(word) in error, error


def test_evolve_prints_one_json_object_with_the_promised_keys(tmp_path, capsys, photographs):
    assert evolve(tmp_path / "run", "--presentations", 100, "--references", photographs, "--json") == 0
    found = last_json(capsys)
    assert found["target"] == "known:gaussian::0"
    assert found["generator"] == "fourier"
    assert found["optimizer"] == "rank-nes"
    assert (found["seed"], found["presentations"], found["generations"]) == (0, 100, 5)
    assert found["last_generation_best"] > found["first_generation_best"] > 0
    assert found["best_ever"] >= found["last_generation_best"]
    assert found["relative_activation"] == found["last_generation_best"] / found["best_reference"]
    assert found["seconds"] > 0
    assert found["presentations_per_second"] > 0


def test_without_references_the_comparisons_are_null(tmp_path, capsys):
    assert evolve(tmp_path / "run", "--presentations", 40, "--json", "--no-figures") == 0
    found = last_json(capsys)
    assert found["best_reference"] is None
    assert found["relative_activation"] is None


def test_several_units_and_seeds_are_a_list_of_runs(tmp_path, capsys):
    flags = ["--presentations", 20, "--runs", 2, "--seed", 5, "--json", "--no-figures"]
    assert evolve(tmp_path / "run", *flags, target="known:linear::1,3") == 0
    runs = last_json(capsys)["runs"]
    assert [(r["target"], r["seed"]) for r in runs] == [
        ("known:linear::1", 5),
        ("known:linear::1", 6),
        ("known:linear::3", 5),
        ("known:linear::3", 6),
    ]


def test_a_plan_file_is_overlaid_by_flags(tmp_path, capsys):
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'targets = ["known:linear::0"]\npresentations = 60\nseed = 3\n'
        '[generator]\nname = "fourier"\nsize_px = 16\ncutoff_cycles = 3.0\n'
        '[optimizer]\nname = "genetic"\npopulation = 10\n'
    )
    flags = ["--seed", "4", "--set", "optimizer.elites=2", "--quiet", "--json", "--no-figures"]
    assert main(["evolve", str(plan), *flags, "--out", str(tmp_path / "run")]) == 0
    found = last_json(capsys)
    assert (found["seed"], found["generations"]) == (4, 6)
    [run] = Record(tmp_path / "run").runs()
    assert (run.optimizer["elites"], run.optimizer["population"]) == (2, 10)


def test_an_uneven_budget_is_rounded_down_and_says_so(tmp_path, capsys):
    assert evolve(tmp_path / "run", "--presentations", 59, "--json", "--no-figures") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["presentations"] == 40
    assert "59 presentations are no multiple of a generation of 20; 40 are shown" in captured.err


def test_show_and_resume_of_a_finished_experiment_reprint_it(tmp_path, capsys):
    assert evolve(tmp_path / "run", "--presentations", 40, "--json", "--no-figures") == 0
    first = last_json(capsys)
    before = Record(tmp_path / "run").dump()
    assert main(["resume", str(tmp_path / "run"), "--json", "--no-figures"]) == 0
    assert last_json(capsys) == first
    assert main(["show", str(tmp_path / "run"), "--json"]) == 0
    assert last_json(capsys) == first
    assert Record(tmp_path / "run").dump() == before
    assert (tmp_path / "run" / "figures" / "figure.png").exists()


def test_encoded_images_are_initial_codes(tmp_path, capsys, photographs):
    codes = tmp_path / "codes.npz"
    flags = [flag for flag in QUICK if flag != "--quiet"]
    assert main(["encode", str(photographs), "--out", str(codes), *flags]) == 0
    flags = ["--optimizer", "genetic", "--presentations", 20, "--init", f"codes:{codes}", "--no-figures"]
    assert evolve(tmp_path / "run", *flags) == 0
    record = Record(tmp_path / "run")
    drawn, _ = record.chunk_codes(record.best_image(0, 0))
    expected = np.load(codes)["codes"]
    np.testing.assert_array_equal(drawn, expected[np.arange(20) % 5])


def test_images_are_encoded_as_a_layer_sees_them(tmp_path, capsys, photographs, monkeypatch):
    (tmp_path / "warned.py").write_text(
        "import dataclasses, tiny_encoder\n"
        "def network():\n"
        "    return dataclasses.replace(tiny_encoder.network(), warnings=('handle with care',))\n"
    )
    monkeypatch.chdir(tmp_path)
    features = "python:warned:network:conv3"
    flags = ["--generator", "pixels", "--set", "generator.size_px=16", "--steps", "40"]
    command = ["encode", str(photographs), "--out", "codes.npz", *flags, "--features", features, "--json"]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert f"p0.png: mean squared difference of {features} " in captured.out
    assert "note: handle with care" in captured.err
    with np.load("codes.npz") as file:
        found = {key: file[key] for key in file.files}
    assert (str(found["features"]), list(found["notes"])) == (features, ["handle with care"])
    generator = GENERATORS.make("pixels", size_px=16)
    images = load(str(photographs)).images(range(5), 16) / 255.0
    read = layer_features(networks.load("python:warned:network"), "conv3", 16)
    codes, losses = encode(generator, images, 40, features=read)
    np.testing.assert_array_equal(found["codes"], codes)
    np.testing.assert_array_equal(found["losses"], losses)
    said = json.loads(captured.out.splitlines()[-1])
    assert (said["features"], said["losses"]) == (features, losses.tolist())
    assert main(command[: command.index("--features")]) == 0  # without: the closed form
    assert np.load("codes.npz")["losses"].tolist() == [0.0] * 5


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--features", "tiny"], ["'tiny' is not NETWORK:LAYER"]),
        (["--features", ":conv3"], ["':conv3' is not NETWORK:LAYER"]),
        (["--features", "efficientnet-lite9:_fc"], ["unknown network", "efficientnet-lite0"]),
        (["--features", "python:tiny_encoder:network:conv9"], ["'conv9' does not exist", "conv3"]),
        (["--features", "file:net.pt:"], ["'file:net.pt:'", "python:MODULE:FUNCTION"]),
        (["--features", "python:tiny_encoder:network:conv3", "--method", "ivt"], ["ivt", "opt"]),
    ],
)
def test_features_that_cannot_be_are_refused_and_leave_nothing(tmp_path, capsys, photographs, flags, words):
    out = tmp_path / "codes.npz"
    refused(capsys, main(["encode", str(photographs), "--out", str(out), *flags]), *words)
    assert not out.exists()


def test_random_weights_are_named_on_every_output(tmp_path, capsys):
    flags = ["--generator", "deepsim-norm1", "--random-weights", "--population", "2", "--quiet", "--json"]
    out = str(tmp_path / "run")
    target = ["--target", "known:linear::0", "--presentations", "2"]
    assert main(["evolve", *target, *flags, "--image-size", "16", "--out", out]) == 0
    captured = capsys.readouterr()
    assert "random weights" in captured.err
    assert "random weights" in json.loads(captured.out.splitlines()[-1])["notes"][0]
    assert main(["show", out]) == 0
    assert "random weights" in capsys.readouterr().out
    with Image.open(tmp_path / "run" / "figures" / "best.png") as image:
        assert "random weights" in image.info["Description"]


def test_list_names_everything_and_layers_with_shapes(capsys):
    assert main(["list", "generators", "--json"]) == 0
    assert {"natural-v1", "pixels", "fourier", "deepsim-fc6", "deepsim-fc6-places365"} <= set(
        last_json(capsys)["generators"]
    )
    assert main(["list", "optimizers", "--json"]) == 0
    assert {"fdgd", "genetic", "nes", "rank-nes"} <= set(last_json(capsys)["optimizers"])
    assert main(["list", "targets", "--layers", "efficientnet-lite0", "--json"]) == 0
    layers = {one["layer"]: one["shape"] for one in last_json(capsys)["layers"]}
    assert layers["_fc"] == [1000]
    assert layers["_blocks.15"] == [320, 7, 7]


def test_list_has_a_line_on_every_part_and_names_forms_apart(capsys):
    assert main(["list", "generators", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    said = dict(line.split(maxsplit=1) for line in lines)
    assert {"fourier", "pixels", "natural-v1", "caffe:*", "*.safetensors"} <= set(said)
    assert said["natural-v1"].startswith("256 numbers, 64 px, inverts efficientnet-lite0:")
    found = json.loads(last)
    named = ["biggan:*", "caffe:*", "file:*", "one-step:*", "onnx:*", "python:*", "vae:*"]
    assert found["forms"] == ["*.safetensors", *named]
    assert set(found["generators"]).isdisjoint(found["forms"])
    for kind in ("optimizers", "objectives", "subjects", "bridges", "drivers"):
        assert main(["list", kind]) == 0
        assert all(len(line.split(maxsplit=1)) == 2 for line in capsys.readouterr().out.splitlines()), kind


def test_list_defaults_prints_what_an_experiment_would_take(capsys):
    assert main(["list", "defaults", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    rows = json.loads(last)["defaults"]
    assert len(rows) == len(lines)
    [row] = [
        row for row in rows if (row["generator"], row["optimizer"]) == ("natural-v1", "genetic")
        and row["noise"] == "without"
    ]  # fmt: skip
    assert row["values"] == hyperparameters("natural-v1", "genetic", noisy=False)


def test_doctor_finds_known_optima_here(capsys):
    assert main(["doctor", "--json"]) == 0
    found = last_json(capsys)["findings"]
    assert {"versions", "SQLite", "random draws", "search"} <= {one["subject"] for one in found}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--generator", "fouriel"], ["fouriel", "fourier"]),
        (["--optimizer", "genetics"], ["genetics", "genetic"]),
        (["--objective", "men"], ["men", "mean"]),
        (["--presentations", "0"], ["presentations", "0"]),
        (["--presentations", "-20"], ["presentations", "-20"]),
        (["--presentations", "19"], ["19", "at least 20"]),
        (["--presentations", "20", "--repeats", "2"], ["20", "at least 40"]),
        (["--repeats", "0"], ["repeats", "0"]),
        (["--runs", "0"], ["runs", "0"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--population", "0"], ["population", "0", "2"]),
        (["--optimizer", "nes", "--population", "1"], ["population", "1", "2"]),
        (["--noise-spikes", "20"], ["noise_spikes", "references"]),
        (["--noise-spikes", "20", "--noise-scale", "2"], ["noise_spikes", "noise_scale"]),
        (["--noise-scale", "0"], ["noise_scale", "0"]),
        (["--noise-scale", "nan"], ["noise_scale", "nan"]),
        (["--references", "nowhere"], ["nowhere"]),
        (["--init", "best"], ["best", "default"]),
        (["--init", "codes:nowhere.npz"], ["nowhere.npz"]),
        (["--init", "statistics:nowhere.h5"], ["nowhere.h5"]),
        (["--init", "references:best"], ["references"]),
        (["--image-size", "1"], ["image_size_px", "1"]),
        (["--device", "abacus"], ["abacus", "cpu"]),
        (["--optimizer", "genetic", "--set", "optimizer.mutation=1"], ["mutation", "mutation_rate"]),
        (["--optimizer", "genetic", "--set", "optimizer.mutation_rate=2"], ["mutation_rate", "2"]),
        (["--optimizer", "genetic", "--set", "optimizer.mutation_rate=much"], ["mutation_rate", "much"]),
        (["--set", "optimizer.population=1.5"], ["population", "1.5"]),
        (["--set", "generator.size_px=big"], ["size_px", "big"]),
        (["--set", "generator.size=3"], ["size", "size_px"]),
        (["--set", "mutation_rate=1"], ["PART.KEY=VALUE"]),
        (["--generator", "deepsim-fc6"], ["size_px", "random_weights"]),
        (["--weights", "w.pt"], ["weights"]),
        (["--name", "a/b"], ["name", "a/b"]),
        (["--target", "efficientnet-lite9:_fc:0"], ["efficientnet-lite9", "efficientnet-lite0"]),
        (["--target", "efficientnet-lite0:_fd:0"], ["_fd", "_fc"]),
        (["--target", "efficientnet-lite0:_fc:1000"], ["1000", "0 to 999"]),
        (["--target", "efficientnet-lite0:_blocks.15:3@7,0"], ["7,0", "7 high"]),
        (["--target", "known:linear:layer:0"], ["layer"]),
        (["--target", "known:liner::0"], ["liner", "linear"]),
        (["--target", "281"], ["281", "NETWORK:LAYER:UNITS"]),
        (["--target", "known:gaussian::0"], ["twice"]),
        (["--presentations", "many"], ["many"]),
        (["--colour", "red"], ["--colour"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(tmp_path, capsys, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDREAM_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    try:
        status = evolve(tmp_path / "run", *flags)
    except SystemExit as end:  # from the parser itself
        status = end.code
    refused(capsys, status, *words)
    assert not (tmp_path / "run").exists()


def test_a_plan_with_an_unknown_key_names_it(tmp_path, capsys):
    plan = tmp_path / "plan.toml"
    plan.write_text('targets = ["known:linear::0"]\npresentation = 60\n')
    refused(capsys, main(["evolve", str(plan), "--out", str(tmp_path / "run")]), "presentation", plan)
    plan.write_text("targets = [")
    refused(capsys, main(["evolve", str(plan), "--out", str(tmp_path / "run")]), "TOML")
    refused(capsys, main(["evolve", str(tmp_path / "none.toml")]), "none.toml")
    assert not (tmp_path / "run").exists()


def test_no_target_is_said(capsys):
    refused(capsys, main(["evolve"]), "--target")


def test_every_unusable_reference_is_named_at_once(tmp_path, capsys, photographs):
    (photographs / "notes.txt").write_text("no image")
    (photographs / "torn.png").write_bytes((photographs / "p0.png").read_bytes()[:100])
    refused(capsys, evolve(tmp_path / "run", "--references", photographs), "notes.txt", "torn.png")
    (tmp_path / "empty").mkdir()
    refused(capsys, evolve(tmp_path / "run", "--references", tmp_path / "empty"), "empty")
    assert not (tmp_path / "run").exists()


def test_noise_without_a_positive_reference_leaves_nothing_behind(tmp_path, capsys, photographs):
    flags = ["--references", photographs, "--noise-spikes", 20, "--objective", "mean"]
    status = evolve(tmp_path / "run", *flags, target=f"match:{photographs / 'p0.png'}::0")
    error = capsys.readouterr().err
    assert status == 2
    assert "noise_scale" in error
    assert not (tmp_path / "run").exists()


def test_missing_weights_say_which_file_from_where_and_into_which_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDREAM_WEIGHTS", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    command = ["evolve", "--target", "known:linear::0", "--generator", "deepsim-fc6"]
    status = main([*command, "--out", str(tmp_path / "run")])
    refused(capsys, status, "upconvGAN_fc6.pt", "xdream weights get deepsim-fc6", tmp_path / "mine")
    assert not (tmp_path / "run").exists()


class Malicious:
    def __reduce__(self):
        return (print, ("code from a weights file ran",))


def test_bad_weights_files_are_refused(tmp_path, capsys):
    path = tmp_path / "w.pt"
    flags = ["--weights", str(path)]
    target = ["evolve", "--target", "known:linear::0", "--generator", "deepsim-fc8", "--quiet"]

    def attempt():
        return main([*target, "--out", str(tmp_path / "run"), *flags])

    refused(capsys, attempt(), path)
    torch.save({"G.defc7.weight": torch.zeros(2, 2)}, path)
    refused(capsys, attempt(), path)
    path.write_bytes(path.read_bytes()[:200])
    refused(capsys, attempt(), path)
    torch.save(Malicious(), path)
    refused(capsys, attempt(), path)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_an_experiment_is_not_overwritten(tmp_path, capsys):
    assert evolve(tmp_path / "run", "--presentations", 20, "--no-figures") == 0
    before = (tmp_path / "run" / FILE_NAME).read_bytes()
    capsys.readouterr()
    refused(capsys, evolve(tmp_path / "run", "--presentations", 20), "already holds", "xdream resume")
    assert (tmp_path / "run" / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("command", ["show", "resume"])
def test_a_folder_without_an_experiment_is_said(tmp_path, capsys, command):
    refused(capsys, main([command, str(tmp_path)]), FILE_NAME)
    (tmp_path / FILE_NAME).write_bytes(b"no database at all, but some text of some length" * 100)
    refused(capsys, main([command, str(tmp_path)]), FILE_NAME)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_prints_how_to_resume_and_loses_nothing(tmp_path, capfd, number):
    """A real process, interrupted once it has shown its first generations; then resumed."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "xdream.cli", "evolve", "--target", "known:energy::0"]
    flags = [*(flag for flag in QUICK if flag != "--quiet"), "--no-figures"]
    process = subprocess.Popen(
        [*command, *flags, "--presentations", "100000", "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "80"},
    )
    assert process.stderr is not None
    seen = ""
    while "best " not in seen:  # the bar shows a score only after a generation was told
        character = process.stderr.read(1)
        assert character, seen
        seen += character
    process.send_signal(number)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130
    assert f"xdream resume {out}" in rest
    told = len(Record(out).scores(0))
    assert told >= 1
    assert not Record(out).finished


def test_the_installed_command_runs():
    script = Path(sys.executable).with_name("xdream")
    found = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("xdream ")


def test_an_infinite_response_is_null_in_json(tmp_path, capsys, monkeypatch):
    (tmp_path / "infinite.py").write_text(
        "import torch\ndef respond(images):\n    return images.flatten(1)[:, :1] / 0.0\n"
    )
    monkeypatch.chdir(tmp_path)  # modules of the current folder are found
    flags = ["--presentations", 20, "--json", "--no-figures"]
    assert evolve(tmp_path / "run", *flags, target="python:infinite:respond::0") == 0
    assert last_json(capsys)["best_ever"] is None


def test_codes_of_another_generator_are_refused(tmp_path, capsys, photographs):
    codes = tmp_path / "codes.npz"
    assert main(["encode", str(photographs), "--generator", "pixels", "--out", str(codes)]) == 0
    capsys.readouterr()
    refused(capsys, evolve(tmp_path / "run", "--init", f"codes:{codes}"), "pixels", "fourier")


def test_default_folders_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["evolve", "--target", "known:linear::0", *QUICK, "--presentations", "20", "--no-figures"]
    for _ in range(3):
        assert main(command) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_a_refused_experiment_leaves_no_parent_folders(tmp_path, capsys, photographs):
    flags = ["--references", photographs, "--noise-spikes", 20]
    status = evolve(tmp_path / "a" / "b" / "run", *flags, target=f"match:{photographs / 'p0.png'}::0")
    assert status == 2
    assert not (tmp_path / "a").exists()


def test_the_photographs_of_scikit_image_can_be_encoded_as_initial_codes(tmp_path, capsys):
    flags = ["--presentations", 20, "--init", "images:scikit-image", "--no-figures"]
    assert evolve(tmp_path / "run", *flags) == 0


def test_a_neuron_that_never_answers_is_noted(tmp_path, capsys, monkeypatch):
    (tmp_path / "silent.py").write_text(
        "def respond(images):\n    return images.flatten(1)[:, :1] * float('nan')\n"
    )
    monkeypatch.chdir(tmp_path)
    flags = ["--presentations", 40, "--json", "--no-figures"]
    assert evolve(tmp_path / "silent", *flags, target="python:silent:respond::0") == 0
    assert "never had a response" in last_json(capsys)["notes"][0]
    assert evolve(tmp_path / "run", *flags) == 0
    assert last_json(capsys)["notes"] == []


# Many runs.


def test_codes_of_a_small_record_are_derived(tmp_path, capsys):
    for kept in ("everything", "scores"):
        flags = ["--presentations", 60, "--runs", 2, "--record", kept, "--no-figures"]
        assert evolve(tmp_path / kept, *flags) == 0
        out = tmp_path / f"{kept}.npz"
        assert main(["codes", str(tmp_path / kept), "--run", "1", "--out", str(out), "--json"]) == 0
        assert last_json(capsys) == {"out": str(out), "codes": 60}
    with np.load(tmp_path / "everything.npz") as full, np.load(tmp_path / "scores.npz") as small:
        assert set(full) == set(small) == {"codes", "score", "generation", "slot", "generator"}
        for key in full:
            np.testing.assert_array_equal(full[key], small[key])
        last = full["codes"][full["generation"] == 3]
    one = tmp_path / "one.npz"
    flags = ["--run", "1", "--generation", "3", "--out", str(one)]
    assert main(["codes", str(tmp_path / "scores"), *flags]) == 0
    with np.load(one) as codes:
        np.testing.assert_array_equal(codes["codes"], last)
        assert codes["generation"].tolist() == [3] * 20
    assert evolve(tmp_path / "next", "--presentations", 20, "--init", f"codes:{one}", "--no-figures") == 0


def test_codes_that_are_not_there_are_refused(tmp_path, capsys):
    assert evolve(tmp_path / "x", "--presentations", 20, "--no-figures") == 0
    out = ["--out", str(tmp_path / "codes.npz")]
    for flags, words in (
        (["--run", "1"], ["has no run 1"]),
        (["--generation", "2"], ["--generation is 2", "run 0 has 1 to 1"]),
        (["--generation", "0"], ["--generation is 0", "run 0 has 1 to 1"]),
    ):
        capsys.readouterr()
        refused(capsys, main(["codes", str(tmp_path / "x"), *flags, *out]), *words)
    refused(capsys, main(["codes", str(tmp_path / "x"), "--out", "codes.txt"]), ".npz")


def test_a_run_that_has_not_ended_can_be_told_to(tmp_path, capsys):
    flags = ["--presentations", 200, "--plateau", 2, "--runs", 2, "--json", "--no-figures"]
    assert evolve(tmp_path / "x", *flags) == 0
    assert len(last_json(capsys)["runs"]) == 2
    assert main(["end", str(tmp_path / "x"), "--json"]) == 0
    assert last_json(capsys) == {"runs": []}
    refused(capsys, main(["end", str(tmp_path / "x"), "2"]), "has no run 2")
    refused(capsys, main(["end", str(tmp_path / "nowhere")]), "is no folder of an experiment")


def test_the_command_line_needs_no_package_of_an_extra() -> None:
    """The README's first commands bring only the photographs."""
    absent = ["aiohttp", "zmq", "pylsl", "scipy", "pyarrow", "dask", "distributed", "dask_jobqueue"]
    absent += ["timm", "torchvision", "onnx", "onnxruntime", "skimage"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r})); "
        "from xdream.cli.main import main; sys.exit(main(['list', 'optimizers']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_doctor_has_a_word_for_each_state(capsys, monkeypatch):
    """Present, missing and broken are told apart; what is optional does not change the exit status."""
    found = doctor._extra("json", "json: a module")
    assert (found.state, found.ok) == ("ok", True)
    found = doctor._extra("no_such_module", "none: no module")
    assert (found.state, found.ok) == ("missing", True)
    monkeypatch.setattr(doctor.importlib, "import_module", lambda name: 1 / 0)
    found = doctor._extra("json", "json: a module")
    assert (found.state, found.ok) == ("broken", True)
    assert "cannot be imported" in found.text


@pytest.mark.parametrize(("ok", "status"), [(True, 0), (False, 2)])
def test_doctor_prints_the_state_and_ends_with_2_for_what_is_needed(capsys, monkeypatch, ok, status):
    findings = [
        doctor.Check("extra", True, "a: not installed", "missing"),
        doctor.Check("extra", True, "b: installed, but cannot be imported", "broken"),
        doctor.Check("search", ok, "c"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    assert main(["doctor", "--json"]) == status
    *lines, last = capsys.readouterr().out.splitlines()
    word = "ok" if ok else "broken"
    assert [line.split()[0] for line in lines] == ["missing", "broken", word]
    assert [(one["state"], one["ok"]) for one in json.loads(last)["findings"]] == [
        ("missing", True),
        ("broken", True),
        (word, ok),
    ]


def test_one_part_is_listed_with_its_options_and_their_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "optimizers", "genetic", "--json"]) == 0
    output = capsys.readouterr().out
    assert "mutation_rate: a number from 0 to 1, default 0.5" in output
    found = json.loads(output.splitlines()[-1])
    assert found["name"] == "genetic"
    assert found["options"]["population"] == "population: a whole number of at least 1, default 20"
    assert main(["list", "optimizers", "genetik"]) == 2
    assert main(["list", "targets", "known:linear"]) == 2
    assert "list targets takes no name" in capsys.readouterr().err


def test_an_interruption_while_a_command_is_imported_is_one_line(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_main, "_command", interrupted)
    assert main(["list", "generators"]) == 130
    assert capsys.readouterr().err == "xdream: interrupted\n"


@pytest.mark.parametrize(("ignored", "heard"), [(True, True), (False, False)])
def test_a_signal_that_is_ignored_is_heard_where_it_is_wanted(ignored, heard):
    """A session is ended from a script; a training in the background of a shell goes on."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with running.stopping(ignored=ignored) as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop() is heard
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_doctor_finds_the_part_of_another_package_that_is_broken(monkeypatch):
    monkeypatch.setattr(doctor.GENERATORS, "from_elsewhere", lambda: {"mosaic": "mypackage"})
    (found,) = doctor._parts()
    assert (found.state, found.ok) == ("broken", True)
    assert "unknown generator 'mosaic'" in found.text


def test_a_generator_file_is_listed_with_its_options_where_it_is_installed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDREAM_WEIGHTS", str(tmp_path))
    shutil.copy(cards.shipped_file(), tmp_path / "mygen.safetensors")
    assert main(["list", "generators"]) == 0
    assert "mygen" in capsys.readouterr().out
    assert main(["list", "generators", "mygen"]) == 0
    assert "codes: 'free' or 'ball' or 'sphere' or 'box', default 'free'" in capsys.readouterr().out


def test_a_plan_file_that_names_no_optimizer_says_which_it_takes(tmp_path, capsys):
    plan = tmp_path / "plan.toml"
    plan.write_text('targets = ["known:linear::0"]\ngenerator = "pixels"\npresentations = 20\n')
    flags = ["--set", "generator.size_px=8", "--no-figures", "--quiet"]
    assert main(["evolve", str(plan), "--out", str(tmp_path / "run"), *flags]) == 0
    said = f"note: {plan} names no optimizer: rank-nes is the default now, it was genetic before"
    assert said in capsys.readouterr().out
    report.show(Record(tmp_path / "run"), file_format="svg")
    assert "names no optimizer" not in (tmp_path / "run" / "figures" / "figure.svg").read_text()
    assert main(["evolve", str(plan), "--optimizer", "nes", "--out", str(tmp_path / "nes"), *flags]) == 0
    assert "names no optimizer" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", ["show", "resume", "pause", "go-on", "export --to csv --out y", "rescore"]
)
def test_a_folder_that_is_none_is_said_with_what_to_give(tmp_path, capsys, command):
    assert main([*command.split(), str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'nowhere'} is no folder of an experiment or session" in said
    assert "give the folder that xdream evolve or serve wrote" in said


def test_the_bar_of_a_session_is_for_terminals_and_lines_are_for_files_too(capsys):
    with Bar(log=True) as bar:
        bar.stage("generations", 1, 4)
        bar.note("best of this generation 3")
        bar.trouble("no answer for 3 s")
        bar.stage("generations", 2, 4)
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("no answer for 3 s")
