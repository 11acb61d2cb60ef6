"""The library's logger. It says nothing until the application configures logging."""

from __future__ import annotations

import logging

logger: logging.Logger = logging.getLogger("dynsecrets")
logger.addHandler(logging.NullHandler())
