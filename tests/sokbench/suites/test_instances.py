"""Suites of VNN-COMP instances: files as they are found in the wild, and the jobs they become."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from sokbench import suites
from sokbench.core.errors import InvalidInput
from sokbench.suites.expand import expand
from sokbench.suites.instances import read_instances
from sokbench.suites.schema import Limits, PropertyBlock, SuiteFile


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Two categories with networks in a folder beside them; nothing in the files is read."""
    for category, lines in (
        ("acas", "../nets/a.onnx,p1.vnnlib,116\n../nets/b.onnx,p1.vnnlib,7.5\n\n../nets/a.onnx, p2.vnnlib ,20\n"),
        ("mnist", "../nets/a.onnx,p1.vnnlib,300.0\n"),
    ):
        (tmp_path / category).mkdir()
        (tmp_path / category / "instances.csv").write_text(lines)
        for name in ("p1.vnnlib", "p2.vnnlib"):
            (tmp_path / category / name).write_text(f"{category} {name}")
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets/a.onnx").write_text("a")
    (tmp_path / "nets/b.onnx.gz").write_bytes(gzip.compress(b"b"))
    (tmp_path / "known.csv").write_text(
        "net_path,spec_path,verdict,basis,fastest_s\nx/nets/a.onnx,y/p2.vnnlib,violated,counterexample_rechecked,1.25\n"
    )
    return tmp_path


def block(**fields: object) -> PropertyBlock:
    given: dict[str, object] = {"instances": ("acas/instances.csv",), "methods": ("clean", "ibp"), **fields}
    return PropertyBlock(**given)  # type: ignore[arg-type]


def jobs(base: Path, *blocks: PropertyBlock, **fields: object):
    file = SuiteFile(name="mine", title="", property=blocks, **fields)  # type: ignore[arg-type]
    return expand(suites.in_memory(file, base))


def test_instances_are_read_with_their_line_and_what_is_known(base: Path):
    found = read_instances(("acas/instances.csv",), "known.csv", base)
    assert [(one.index, one.network, one.spec, one.seconds, one.expected) for one in found] == [
        (0, "nets/a.onnx", "acas/p1.vnnlib", 116.0, ""),
        (1, "nets/b.onnx.gz", "acas/p1.vnnlib", 7.5, ""),
        (2, "nets/a.onnx", "acas/p2.vnnlib", 20.0, "violated counterexample_rechecked 1.25"),
    ]
    assert {one.category for one in found} == {"acas"}
    assert found[0].spec_sha256 != found[2].spec_sha256


def test_a_job_per_method_and_instance_with_its_own_limit(base: Path):
    expansion = jobs(base, block(expected="known.csv", limits=Limits(wall=60.0, memory="2 GiB")), seed=5)
    series = [batch.series for batch in expansion.batches]
    assert [(s.method, s.model, s.spec, s.limit) for s in series[:3]] == [
        ("clean", "nets/a.onnx", "acas/p1.vnnlib", 60.0),
        ("clean", "nets/a.onnx", "acas/p2.vnnlib", 20.0),
        ("clean", "nets/b.onnx.gz", "acas/p1.vnnlib", 7.5),
    ]
    assert len(series) == 6
    assert {(s.task, s.dataset, s.memory, s.seed) for s in series} == {("property", "acas", 2 << 30, 5)}
    assert Path(series[0].spec_source) == base / "acas/p1.vnnlib"
    assert [batch.indices for batch in expansion.batches[:3]] == [(0,), (2,), (1,)]
    assert expansion.indices == {"acas instances": [0, 1, 2]}
    assert set(expansion.models) == {"nets/a.onnx", "nets/b.onnx.gz"}


def test_without_a_limit_each_instance_has_what_it_asks_for(base: Path):
    assert {batch.series.limit for batch in jobs(base, block()).batches} == {116.0, 20.0, 7.5}


def test_a_suite_file_may_hold_them(base: Path):
    text = 'name = "v"\ntitle = "t"\n[[property]]\ninstances = ["acas/instances.csv", "mnist/instances.csv"]\n'
    (base / "v.toml").write_text(text + 'methods = ["ibp"]\n')
    expansion = expand(suites.load(base / "v.toml"))
    assert [batch.series.dataset for batch in expansion.batches] == ["acas", "acas", "acas", "mnist"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../nets/a.onnx,p1.vnnlib", "instance 0: expected network,property,seconds and found 2 fields"),
        ("../nets/c.onnx,p1.vnnlib,1", "instance 0: no such file: c.onnx"),
        ("../nets/a.onnx,p9.vnnlib,1", "no such file: p9.vnnlib"),
        ("../nets/a.onnx,p1.vnnlib,soon", "positive number of seconds, not 'soon'"),
        ("../nets/a.onnx,p1.vnnlib,-3", "positive number of seconds"),
    ],
)
def test_broken_lines_are_named(base: Path, line: str, message: str):
    (base / "acas/instances.csv").write_text(line)
    with pytest.raises(InvalidInput, match=message):
        jobs(base, block())


def test_a_folder_of_categories_with_what_is_known_beside_them(base: Path):
    assert {one.expected for one in read_instances((".",), None, base)} == {""}
    (base / "known.csv").rename(base / "expected.csv")
    found = read_instances((".",), None, base)
    assert [one.category for one in found] == ["acas", "acas", "acas", "mnist"]
    assert [one.expected.partition(" ")[0] for one in found] == ["", "", "violated", ""]
    with pytest.raises(InvalidInput, match="nets has no folders with a file instances"):
        read_instances(("nets",), None, base)


def test_files_that_are_missing_or_twice_there(base: Path):
    with pytest.raises(InvalidInput, match=r"no such file: none\.csv"):
        jobs(base, block(instances=("none.csv",)))
    (base / "more/acas").mkdir(parents=True)
    (base / "more/acas/instances.csv").write_text("")
    with pytest.raises(InvalidInput, match="the category 'acas' is also that of"):
        jobs(base, block(instances=("acas/instances.csv", "more/acas/instances.csv")))
    (base / "known.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInput, match=r"known\.csv: no column basis, net_path, spec_path, verdict"):
        jobs(base, block(expected="known.csv"))
    without_data = SuiteFile(name="x", title="", verify=(suites.schema.Block(methods=("ibp",)),))
    with pytest.raises(InvalidInput, match="no data set"):
        expand(suites.in_memory(without_data, base))
