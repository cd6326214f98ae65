"""Foreign text made safe to print.

URLs, file names and texts of a crawl come from anybody. A terminal obeys what some characters order
(set its title, clear it, hide a line), and others turn the direction of what follows.
"""

from __future__ import annotations

import re

_ORDERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""C0 and C1 controls but tab and line feed, DEL, and the controls of bidirectional text (UAX 9)."""


def visible(text: str) -> str:
    """The text with every such character as JSON writes it, `\\u001b` for one."""
    return _ORDERS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
