"""What pytest loads where the library is installed: the plugin, by its own name.

pytest refuses to start where a module is registered under two names: so it would if the entry point named the plugin
itself, and a project said ``-p dynsecrets.pytest_plugin`` or ``pytest_plugins = ["dynsecrets.pytest_plugin"]``.
"""

from __future__ import annotations

pytest_plugins: tuple[str, ...] = ("dynsecrets.pytest_plugin",)
