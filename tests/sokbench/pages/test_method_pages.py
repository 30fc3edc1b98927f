"""What a method's page says of how it works."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sokbench.core.registry import catalog
from sokbench.pages.method_pages import _explained


def test_a_docstring_is_text_lists_and_code_and_nothing_else(tmp_path: Path):
    path = tmp_path / "method.py"
    text = "On [l, u](x) a*b*c <b>counts</b>, by `search`:\n\n- one;\n- two.\n\nSo\n\n    x = y\n"
    path.write_text(f'"""{text}"""\n', encoding="utf-8")
    found = str(_explained(replace(catalog()["milp"], path=path)))
    assert "<p>On [l, u](x) a*b*c &lt;b&gt;counts&lt;/b&gt;, by <code>search</code>:</p>" in found
    assert "<li>two.</li>" in found
    assert "<pre><code>x = y\n</code></pre>" in found


def test_a_method_that_is_gone_is_not_explained():
    assert not _explained(None)
