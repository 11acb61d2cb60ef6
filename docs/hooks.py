"""A hook of MkDocs: docstrings name things like ``:class:`~dynsecrets.Lease```, and pages show them as links."""

from __future__ import annotations

import re
from typing import Final

_ROLE: Final = re.compile(r":(?:class|func|meth|attr|data|exc|mod):<code>(~?)([\w.]+)(?:\(\))?</code>")


def on_page_content(html: str, **_kwargs: object) -> str:
    """Return a page's HTML with links in place of roles; where there is nothing to link to, just the name."""
    return _ROLE.sub(_link, html)


def _link(match: re.Match[str]) -> str:
    name = match[2]
    shown = name.rpartition(".")[2] if match[1] else name
    return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'
