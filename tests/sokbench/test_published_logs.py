"""Certification logs: read as their authors count, refused where they contradict themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from sokbench.cli import cli
from sokbench.core.errors import InvalidInput, UnknownName, Unsupported
from sokbench.published_logs import About, impossible, load, read, store

HEAD = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"
LOG = (
    HEAD
    + "0\t3\t3\t0.412\t1\t0:00:16.9\n20\t7\t-1\t0.0\t0\t17.25\n40\t1\t2\t0.83\t0\t0:01:02\n60\t1\t1\t0.25\t1\tlong\n"
)
ABOUT = About(
    dataset="cifar10",
    norm="l2",
    model="ResNet-110",
    training='Data "Augmentation"',
    certifier="neyman_pearson",
    noise={"kind": "gaussian", "sigma": 0.25},
    source="a test",
    n=100_000,
    alpha=0.001,
)


def written(folder: Path, text: str = LOG) -> Path:
    path = folder / "log"
    path.write_text(text)
    return path


def test_lines_and_shares(tmp_path: Path) -> None:
    log = store(written(tmp_path), "one", ABOUT, tmp_path / "logs")
    assert [line.prediction for line in log.lines] == [3, -1, 2, 1]
    assert [line.seconds for line in log.lines] == [pytest.approx(16.9), 17.25, 62.0, None]
    # a wrong class counts for nothing, and a radius equal to the one asked for counts
    assert [(log.certified(r).k, log.certified(r).n) for r in (0.0, 0.25, 0.26, 0.5)] == [
        (2, 4),
        (2, 4),
        (1, 4),
        (0, 4),
    ]
    assert load(tmp_path / "logs") == [log]
    assert (tmp_path / "logs" / "one.tsv").read_text() == LOG


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no certification log"),
        ("a,b\n", "no certification log"),
        (HEAD, "has no rows"),
        (HEAD + "0\t3\t3\tx\t1\t1\n", "line 2"),
        (HEAD + "0\t3\t3\t0.1\n", "line 2"),
        (HEAD + "0\t3\t3\tnan\t1\t1\n", "radius >= 0"),
        (HEAD + "0\t3\t2\t0.1\t1\t1\n", "contradict"),
        (HEAD + "0\t3\t-1\t0.1\t0\t1\n", "contradict"),
        (LOG + "0\t3\t3\t0.412\t1\t1\n", "several rows for one image"),
    ],
)
def test_what_is_no_log(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        read(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_radii_that_n_and_alpha_rule_out() -> None:
    """Logs of sigma 0.25 that reach 0.978 are impossible at n = 100,000 and alpha = 0.001, where 0.953 is the most."""
    lines = read_text("0\t3\t3\t0.978\t1\t1\n")
    assert "0.978, is beyond 0.9529" in impossible(ABOUT, lines)
    assert impossible(replace(ABOUT, alpha=0.01, n=150_000), lines) == ""
    assert impossible(replace(ABOUT, n=0), lines) == ""
    # 0.9529 printed to three digits rounds up
    assert impossible(ABOUT, read_text("0\t3\t3\t0.953\t1\t1\n")) == ""


def read_text(rows: str):  # type: ignore[no-untyped-def]
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return read(written(Path(folder), HEAD + rows))


def test_what_cannot_be_filed(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(InvalidInput, match="may hold letters"):
        store(path, "../x", ABOUT, tmp_path / "logs")
    with pytest.raises(UnknownName, match="certifier"):
        store(path, "x", replace(ABOUT, certifier="cohen"), tmp_path / "logs")
    with pytest.raises(Unsupported, match="certifies laplace noise"):
        store(path, "x", replace(ABOUT, certifier="teng"), tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sokbench.published_logs.store", lambda *given: store(*given, tmp_path / "logs"))
    text = LOG.replace("0.412", "1.2")
    arguments = ["--name", "one", "--model", "ResNet-110", "--training", "MACER", "--set", "sigma=0.25"]
    arguments += ["--n", "100000", "--alpha", "0.001", "--source", "a test"]
    result = CliRunner().invoke(cli, ["import-log", str(written(tmp_path, text)), *arguments])
    assert result.exit_code == 0, result.output
    assert "4 images filed as one; 50.0% are classified correctly" in result.output
    assert "made with others" in result.output
    (log,) = load(tmp_path / "logs")
    assert "made with others" in log.about.notes
