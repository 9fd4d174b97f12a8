"""How the command line says that something given to it is wrong: one line on stderr, exit code 2."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def bad_input(*errors: type[Exception]) -> Iterator[None]:
    """Turn these exceptions into `error: …` on stderr and exit code 2."""
    try:
        yield
    except errors as error:
        said = error.args[0] if isinstance(error, KeyError) else error  # a KeyError's text is the repr of its message
        typer.echo(f"error: {said}", err=True)
        raise typer.Exit(2) from error
