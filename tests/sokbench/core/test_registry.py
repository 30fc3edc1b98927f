from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sokbench
from sokbench.core import fingerprint, registry
from sokbench.core.method import FAMILIES
from tests.sokbench.core.toys import ExactLinear

METHOD = '''
from sokbench import BoundingVerifier, MethodInfo
class Mine(BoundingVerifier):
    """What it does."""
    info = MethodInfo(slug="mine", title="Mine", kind="verifier", family="baseline", norms=("linf",),
                      summary="A method of one's own.", paper="none")
    def margins(self, network, x, labels, ball, deadline=None):
        return x  # {comment}
'''


def test_the_nearest_names_are_offered():
    with pytest.raises(sokbench.UnknownName, match="did you mean crown"):
        sokbench.method("crwon")


def test_an_unknown_parameter_is_refused():
    with pytest.raises(sokbench.UnknownName, match="parameter of pgd"):
        sokbench.method("pgd", restart=3)


def test_every_method_is_described():
    entries = registry.catalog()
    assert len(entries) >= 12
    for slug, entry in entries.items():
        assert entry.info.family in FAMILIES, slug
        assert entry.info.norms, slug
        assert entry.info.summary, slug
        assert entry.info.paper, slug
        assert set(entry.info.tighter_than) <= set(entries), slug
        assert entry.load().info == entry.info, slug


def test_listing_loads_neither_torch_nor_a_solver():
    code = (
        "import sys, sokbench.core.registry as r; r.catalog(); "
        "print([m for m in ('torch', 'cvxpy', 'highspy', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_method_in_a_file_of_ones_own(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text(METHOD)
    entry = registry.load_file(path)
    assert entry.info.slug == "mine"
    assert entry.load().info == entry.info


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "exactly one class"),
        ("class A:\n    info = MethodInfo(slug=name())", "literal keyword arguments"),
        ("class A:\n    info = MethodInfo(slug='a')", "literal keyword arguments"),
    ],
)
def test_a_file_that_defines_no_method_says_what_is_missing(tmp_path: Path, source: str, message: str):
    path = tmp_path / "mine.py"
    path.write_text(source)
    with pytest.raises(sokbench.InvalidInput, match=message):
        registry.load_file(path)


def entry_for(path: Path) -> registry.Entry:
    return registry.Entry(ExactLinear.info, path.stem, "Mine", path)


def test_the_fingerprint_changes_with_code_and_not_with_comments(tmp_path: Path):
    versions = []
    for number, text in enumerate(
        [METHOD, METHOD.replace("{comment}", "said otherwise"), METHOD.replace("return x", "return -x")]
    ):
        path = tmp_path / str(number) / "mine.py"
        path.parent.mkdir()
        path.write_text(text)
        versions.append(fingerprint.fingerprint(entry_for(path)))
    assert versions[0] == versions[1] != versions[2]


def test_the_fingerprint_covers_what_a_method_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    (tmp_path / "verifiers").mkdir()
    (tmp_path / "verifiers" / "helper.py").write_text("VALUE = 1")
    path = tmp_path / "verifiers" / "mine.py"
    path.write_text("def late():\n    from verifiers import helper\n")
    before = fingerprint.fingerprint(entry_for(path))
    fingerprint._imports.cache_clear()
    fingerprint._normal_form.cache_clear()
    (tmp_path / "verifiers" / "helper.py").write_text("VALUE = 2")
    assert fingerprint.fingerprint(entry_for(path)) != before
