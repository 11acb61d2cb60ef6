"""Hooks of MkDocs: docstrings' roles become links, and pages that ask another host for something fail the build."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROLE: Final = re.compile(r":(?:class|func|meth|attr|data|exc|mod):<code>(~?)([\w.]+)(?:\(\))?</code>")
#: What a browser loads by itself. Links (``<a href>``) are followed by people, and may lead anywhere.
_LOADED: Final = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object|track|input)\b[^>]*?\b(?:src|srcset|data)\s*=\s*["']?"""
    r"""((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?=[^>]*\brel\s*=\s*["']?(?:stylesheet|icon|preload|preconnect|prefetch|dns-prefetch|manifest))"""
    r"""[^>]*?\bhref\s*=\s*["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|(?:@import\s+|url\()\s*["']?((?:https?:)?//[^"'\s)]+)""",
    re.IGNORECASE,
)


def on_page_content(html: str, **_kwargs: object) -> str:
    """Return a page's HTML with links in place of roles; where there is nothing to link to, just the name."""
    return _ROLE.sub(_link, html)


def on_post_build(config: Mapping[str, Any], **_kwargs: object) -> None:
    """Fail where a page or a style sheet would have the reader's browser ask another host."""
    site = Path(config["site_dir"])
    found = [
        f"{path.relative_to(site)}: {url}"
        for path in sorted(site.rglob("*"))
        if path.suffix in (".html", ".css", ".svg")
        for url in foreign(path.read_text(encoding="utf-8"))
    ]
    if found:
        msg = "pages ask other hosts: " + "; ".join(found)
        raise ValueError(msg)


def foreign(text: str) -> list[str]:
    """Return what a page or a style sheet loads from other hosts."""
    return [next(filter(None, groups)) for groups in _LOADED.findall(text)]


def _link(match: re.Match[str]) -> str:
    name = match[2]
    shown = name.rpartition(".")[2] if match[1] else name
    return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'
