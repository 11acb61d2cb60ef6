"""What the documentation's build does beside MkDocs' own: links of docstrings, and no requests to other hosts."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest

from support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def hooks() -> Any:
    """The module that ``mkdocs.yml`` names."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<script src="https://unpkg.com/mermaid.js"></script>', ["https://unpkg.com/mermaid.js"]),
        ("<script async src=//cdn.example/x.js></script>", ["//cdn.example/x.js"]),
        ('<img alt="x" src="http://example.com/x.png">', ["http://example.com/x.png"]),
        ('<link href="https://fonts.example/css" rel="stylesheet">', ["https://fonts.example/css"]),
        ('<link rel="preconnect" href="https://fonts.example">', ["https://fonts.example"]),
        ("@import 'https://example.com/x.css';", ["https://example.com/x.css"]),
        ("a{background:url(https://example.com/x.png)}", ["https://example.com/x.png"]),
        ('<a href="https://example.com">x</a>', []),
        ('<link rel="canonical" href="https://example.com/">', []),
        ('<link rel="stylesheet" href="../assets/main.css"><script src="assets/x.js"></script>', []),
        ("a{background:url(data:image/svg+xml;utf8,<svg xmlns='http://www.w3.org/2000/svg'/>)}", []),
    ],
)
def test_what_asks_another_host_is_found(hooks: Any, text: str, found: list[str]) -> None:
    """What a browser loads by itself counts; links that people follow don't."""
    assert hooks.foreign(text) == found


def test_the_build_fails_where_a_page_asks_another_host(hooks: Any, tmp_path: Path) -> None:
    """The error names the page and what it asks for."""
    tmp_path.joinpath("a").mkdir()
    tmp_path.joinpath("a", "index.html").write_text('<img src="https://example.com/x.png">', encoding="utf-8")

    with pytest.raises(ValueError, match=r"a.index\.html: https://example\.com/x\.png"):
        hooks.on_post_build({"site_dir": str(tmp_path)})


def test_roles_of_docstrings_become_links(hooks: Any) -> None:
    """A role names what it links to, and shows the last part where it says so."""
    html = hooks.on_page_content("a :class:<code>~dynsecrets.Lease</code> and :meth:<code>close()</code>")

    assert '<autoref identifier="dynsecrets.Lease" optional><code>Lease</code></autoref>' in html
    assert '<autoref identifier="close" optional><code>close</code></autoref>' in html


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """Where MkDocs is installed, all pages, links, anchors and names of the reference are built without a warning."""
    pytest.importorskip("mkdocs", reason="MkDocs is in the docs extra; `make docs` builds strictly too")
    pytest.importorskip("material", reason="as MkDocs")
    pytest.importorskip("mkdocstrings", reason="as MkDocs")
    from support.scripts import run_python

    config = str(ROOT / "mkdocs.yml")
    arguments = ["-m", "mkdocs", "build", "--strict", "--quiet", "-f", config, "-d", str(tmp_path / "site")]

    done = run_python(arguments, ROOT, {"NO_MKDOCS_2_WARNING": "1"}, warnings="default")

    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
