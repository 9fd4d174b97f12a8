"""How long work at start is shown: a spinner on a terminal, one plain line elsewhere, always on stderr.

Owns nothing but the form; what a step does is the caller's.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console


@contextmanager
def step(text: str) -> Iterator[None]:
    """Show `text` while the block runs. An exception passes through and leaves no tick."""
    console = Console(file=sys.stderr, highlight=False)  # held: what runs inside may redirect sys.stderr
    if not console.is_terminal:
        console.print(f"{text} …", markup=False, soft_wrap=True)
        yield
        return
    start = monotonic()
    with console.status(text):
        yield
    console.print(f"[green]✓[/green] {text} [dim]{monotonic() - start:.0f} s[/dim]")
