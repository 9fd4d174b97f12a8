"""Transformers without its progress bars and advice, for the length of one block. Knows nothing of what the block loads."""

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO


@contextmanager
def hushed() -> Iterator[None]:
    """While the block runs only errors are logged, and nothing is written to stderr. What goes wrong must raise."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        # One of its bars (over GGUF tensors) has no switch.
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
