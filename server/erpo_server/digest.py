"""What a file holds, as a sha256; that of a large file is remembered in the cache under its path, size and time of change.

Knows nothing of what the files mean.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from erpo_server.once import cache

LARGE = 16 * 1024 * 1024
"""From this many bytes on, remembering beats reading."""


def sha256(file: Path) -> str:
    """The sha256 of a file's content. Raises `OSError` when it cannot be read."""
    stat = file.stat()
    if stat.st_size < LARGE:
        return _read(file)
    place = str(file.resolve())
    as_of = [place, stat.st_size, stat.st_mtime_ns]
    note = cache() / "digests" / f"{hashlib.sha256(place.encode()).hexdigest()}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        remembered = json.loads(note.read_bytes())
        if remembered["file"] == as_of:
            return str(remembered["sha256"])
    digest = _read(file)
    # A cache that cannot be written costs time, nothing else; half a note reads as none.
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"file": as_of, "sha256": digest}))
    return digest


def _read(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
