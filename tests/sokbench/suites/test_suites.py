"""Suite files: what they say, and one line for everything that may be wrong with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sokbench import data, suites
from sokbench.core.errors import InvalidInput, UnknownName
from sokbench.core.registry import catalog
from sokbench.suites.expand import expand
from sokbench.suites.methods import parameter_names, resolve
from sokbench.suites.schema import number, size

HEAD = """
name = "mine"
title = "t"
dataset = "mnist5k"
subset = "first:2"
models = ["json:loads"]
radii = [0.1]
"""
# "json:loads" is importable; expanding a suite only hashes the source file of a module


def suite(folder: Path, text: str) -> suites.Suite:
    path = folder / "mine.toml"
    path.write_text(text)
    return suites.load(path)


def one(folder: Path, text: str, head: str = HEAD):
    return expand(suite(folder, head + text)).batches


@pytest.mark.parametrize("name", suites.names())
def test_built_in_suites_are_named_as_their_file(name: str):
    loaded = suites.load(name)
    assert loaded.name == name
    assert loaded.file.description
    wanted = {loaded.file.dataset, *(block.dataset for block in loaded.file.certify)} - {"", None}
    if not all(data.availability(dataset).ready for dataset in wanted):
        pytest.skip("its data set is not here")
    assert expand(loaded).batches


def test_the_quick_smoothing_suite_runs_every_certifier_on_shared_passes():
    found = expand(suites.load("smoothing-quick")).batches
    passes = [batch.series for batch in found if batch.series.task == "sample"]
    certificates = [batch.series for batch in found if batch.series.task == "certify"]
    assert {series.method for series in certificates} == set(catalog("certifier"))
    assert all(series.counts in passes for series in certificates)
    # one pass for all certifiers of a network, its noise and a way to sample
    assert len(passes) == len({(s.model, str(s.noise), str(sorted(s.parameters.items()))) for s in passes})
    assert {series.parameters["n"] for series in passes if series.noise["kind"] != "splitting"} == {10_000}
    assert {series.parameters.get("precision") for series in passes} == {None, "bfloat16"}


def test_blocks_replace_defaults(tmp_path: Path):
    text = """
    seed = 3
    [limits]
    wall = 5
    [[verify]]
    methods = ["clean", {method = "pgd", restarts = 2, seed = 9}]
    [[verify]]
    methods = ["clean"]
    subset = "indices:7"
    radii = ["8/255", 0.5]
    norm = "l2"
    box = []
    seed = 4
    limits = {wall = 1, memory = "2 GiB", prepare = 7}
    [[radius]]
    methods = ["clean"]
    """
    first, pgd, small, large, radius = one(tmp_path, text)
    assert (first.indices, first.labels) == ((0, 1), (0, 1))
    assert (first.series.limit, first.series.memory, first.series.prepare_limit) == (5.0, 8 * 2**30, 300.0)
    assert (first.series.low, first.series.high, first.series.seed) == (0.0, 1.0, 3)
    assert pgd.series.parameters == {"restarts": 2, "seed": 9}
    assert (small.indices, small.series.norm, small.series.low) == ((7,), "l2", None)
    assert (small.series.radius, large.series.radius, large.series.seed) == (8 / 255, 0.5, 4)
    assert (small.series.limit, small.series.memory, small.series.prepare_limit) == (1.0, 2 * 2**30, 7.0)
    assert (radius.series.task, radius.series.radius) == ("radius", None)


def test_models_may_have_radii_and_noise_of_their_own(tmp_path: Path):
    text = """
    [[verify]]
    methods = ["clean"]
    models = ["json:loads", {name = "json:dumps", radii = [0.2, 0.3]}]
    [[certify]]
    certifiers = ["neyman_pearson"]
    models = [{name = "json:loads", noise = {kind = "gaussian", sigma = 1}}]
    n0 = 5
    n = 6
    """
    batches = one(tmp_path, text)
    assert [(b.series.model, b.series.radius) for b in batches[:3]] == [
        ("json:loads", 0.1), ("json:dumps", 0.2), ("json:dumps", 0.3),
    ]  # fmt: skip
    sample, certificate = batches[3:]
    assert (sample.series.task, sample.series.parameters) == ("sample", {"n0": 5, "n": 6})
    assert (certificate.series.task, certificate.series.norm) == ("certify", "l2")
    assert certificate.series.counts == sample.series


def test_onnx_files_and_method_files_are_found_beside_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "net.onnx").write_bytes(b"hashed, not read")
    source = Path(suites.__file__).parents[2] / "verifiers/attacks/clean.py"
    text = source.read_text().replace('slug="clean"', 'slug="other"')
    (folder / "other.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    (batch,) = one(folder, 'models = ["net.onnx"]\n[[verify]]\nmethods = ["other.py"]', HEAD.replace("models", "#"))
    assert batch.series.model == "net.onnx"
    assert batch.series.model_source == str(folder / "net.onnx")
    assert (batch.series.method, batch.series.method_source) == ("other", str(folder / "other.py"))
    shutil.copy(source, folder / "clean.py")
    with pytest.raises(InvalidInput, match="sokbench has a method 'clean' already"):
        one(folder, '[[verify]]\nmethods = ["clean.py"]')
    with pytest.raises(InvalidInput, match="no such file"):
        one(folder, '[[verify]]\nmethods = ["absent.py"]')


VERIFY = '[[verify]]\nmethods = ["clean"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = = 3", r"^mine.toml: Invalid value \(at line 1, column 8\)"),
        (HEAD + "colour = 1", r"^mine.toml: .*unknown field `colour`"),
        (HEAD + 'seed = "x"', r"^mine.toml: Expected `int`, got `str` - at `\$.seed`"),
        (HEAD + VERIFY + "limits.wal = 1", r"unknown field `wal` - at `\$.verify\[0\].limits`"),
        (HEAD.replace("mine", "../x") + VERIFY, r"letters, digits, - and _ only - at"),
        (HEAD, r"or \[\[property\]\] block"),
        (
            HEAD + '[[verify]]\nmethods = ["crwn"]',
            r"^mine.toml, verify\[0\]: unknown method 'crwn'; did you mean crown",
        ),
        (HEAD + '[[verify]]\nmethods = ["neyman_pearson"]', r"unknown method 'neyman_pearson'"),
        (
            HEAD + '[[verify]]\nmethods = [{method = "pgd", restart = 1}]',
            r"parameter of pgd 'restart'; did you mean resta",
        ),
        (HEAD + "[[verify]]\nmethods = [{restarts = 1}]", r"a method table needs the method's name"),
        (HEAD + "[[verify]]\nmethods = []", r"names no method"),
        (HEAD + VERIFY + 'radii = ["8/x"]', r"'8/x' is neither a number nor a fraction"),
        (HEAD + VERIFY + "radii = [-1]", r"the radius must be a finite number >= 0, not -1"),
        (HEAD + VERIFY + "radii = [nan]", r"the radius must be a finite number >= 0, not nan"),
        (HEAD + VERIFY + "radii = []", r"no radii"),
        (HEAD + VERIFY + 'norm = "l3"', r"unknown norm 'l3'"),
        (HEAD + VERIFY + "box = [1]", r"the box is \[low, high\]"),
        (HEAD + VERIFY + "box = [1, 0]", r"the input box is empty"),
        (HEAD + VERIFY + 'subset = "some"', r"unknown subset rule 'some'"),
        (HEAD + VERIFY + 'dataset = "mnist5"', r"unknown data set 'mnist5'; did you mean mnist5k"),
        (HEAD + VERIFY + 'models = ["mnist5k/cnn_a/cdav"]', r"verify\[0\]: unknown"),
        (HEAD + VERIFY + "models = []", r"no models"),
        (HEAD + VERIFY + "limits.wall = 0", r"limits.wall must be a positive number"),
        (HEAD + VERIFY + 'limits.memory = "8 GB"', r"'8 GB' is not a size like \"8 GiB\""),
        (HEAD + '[[certify]]\ncertifiers = ["neyman_pearson"]', r"certify\[0\]: no noise for json:loads"),
        (
            HEAD + '[[certify]]\ncertifiers = ["crown"]\nnoise = {kind = "gaussian", sigma = 1}',
            r"unknown certifier 'crown'",
        ),
        (
            HEAD + '[[certify]]\ncertifiers = ["neyman_pearson"]\nnoise = {kind = "gaussian", sigma = 1}\nalpha = 2',
            r"alpha in \(0, 1\)",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, message: str):
    with pytest.raises(InvalidInput, match=message) as caught:
        expand(suite(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_unknown_suites(tmp_path: Path):
    with pytest.raises(UnknownName, match="did you mean quick"):
        suites.load("quik")
    with pytest.raises(InvalidInput, match="no such suite file"):
        suites.load(tmp_path / "absent.toml")


@pytest.mark.parametrize(("written", "value"), [(0.5, 0.5), (1, 1.0), ("8/255", 8 / 255), ("0.3", 0.3)])
def test_numbers(written: float | str, value: float):
    assert number(written) == value


@pytest.mark.parametrize("written", ["", "1/0", "1/2/3", "eight"])
def test_no_numbers(written: str):
    with pytest.raises(InvalidInput):
        number(written)


def test_sizes():
    assert size("1.5 GiB") == 3 * 2**29
    with pytest.raises(InvalidInput, match="must be positive"):
        size("0 GiB")


def test_parameters_are_read_from_the_source(tmp_path: Path):
    from sokbench.core.registry import catalog

    assert parameter_names(catalog()["pgd"]) == ["steps", "relative_step", "restarts", "seed"]
    assert parameter_names(catalog()["clean"]) == []
    assert resolve("absent", tmp_path).is_absolute()
