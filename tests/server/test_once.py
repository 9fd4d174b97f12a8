"""A cached folder is whole or absent, built by one process, and built anew when it is damaged."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from erpo_server.once import MARKER, CacheError, Once, cache

FILL = """
import os, sys, time
from pathlib import Path
from erpo_server.once import Once

def fill(folder):
    with open(sys.argv[2], "a") as log:
        log.write("built\\n")
    (folder / "half").write_text("x")
    if sys.argv[3] == "die":
        os.kill(os.getpid(), 9)
    time.sleep(0.5)
    (folder / "whole").write_text("y")

print(Once(Path(sys.argv[1]), "key").build(fill))
"""


def start(folder: Path, log: Path, then: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FILL, str(folder), str(log), then]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def write(text: str, count: list[int]):
    def fill(folder: Path) -> None:
        count.append(1)
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text(text)

    return fill


def test_a_second_build_does_nothing(tmp_path: Path) -> None:
    count: list[int] = []
    once = Once(tmp_path / "models" / "m", "key")
    assert not once.is_built
    assert once.build(write("content", count)) == once.path
    assert once.build(write("other", count)) == once.path
    assert once.is_built
    assert (once.path / "sub" / "file").read_text() == "content"
    assert len(count) == 1


def test_a_new_key_builds_anew(tmp_path: Path) -> None:
    count: list[int] = []
    Once(tmp_path / "m", "one").build(write("one", count))
    Once(tmp_path / "m", "two").build(write("two", count))
    assert (tmp_path / "m" / "sub" / "file").read_text() == "two"


@pytest.mark.parametrize("damage", ["truncate", "remove", "add", "no marker", "half a marker", "another marker"])
def test_a_damaged_folder_is_built_anew(tmp_path: Path, damage: str) -> None:
    count: list[int] = []
    once = Once(tmp_path / "m", "key")
    once.build(write("content", count))
    file, marker = once.path / "sub" / "file", once.path / MARKER
    match damage:
        case "truncate":
            file.write_text("con")
        case "remove":
            file.unlink()
        case "add":
            (once.path / "stranger").touch()
        case "no marker":
            marker.unlink()
        case "half a marker":
            marker.write_text(marker.read_text()[:20])
        case "another marker":
            marker.write_text("[]")
    assert not once.is_built
    once.build(write("content", count))
    assert len(count) == 2
    assert file.read_text() == "content"
    assert not (once.path / "stranger").exists()


def test_a_failed_build_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no network")

    once = Once(tmp_path / "m", "key")
    with pytest.raises(RuntimeError, match="no network"):
        once.build(fail)
    assert [p.name for p in tmp_path.iterdir()] == [".m.lock"]
    once.build(write("content", []))
    assert once.is_built


def test_a_build_killed_half_way_is_built_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(tmp_path / "m", log, "die")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "m").exists()
    once = Once(tmp_path / "m", "key")
    once.build(write("content", []))
    assert sorted(p.name for p in once.path.iterdir()) == [MARKER, "sub"]


def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [start(tmp_path / "m", log, "live") for _ in range(3)]
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert {out.strip() for out, _ in said} == {str(tmp_path / "m")}
    assert log.read_text() == "built\n"


def test_files_can_be_read_by_other_users(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "weights").touch(mode=0o600)

    assert (Once(tmp_path / "m", "key").build(fill) / "weights").stat().st_mode & 0o777 == 0o644


def test_an_unusable_cache_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"cannot write the cache '.*file': .*; set ERPO_CACHE to a folder"):
        Once(tmp_path / "file" / "m", "key").build(write("content", []))


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.delenv("ERPO_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache() == Path("/home/u/.cache/erpo")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache() == Path("/home/u/.cache/erpo")
    monkeypatch.setenv("XDG_CACHE_HOME", "/big")
    assert cache() == Path("/big/erpo")
    monkeypatch.setenv("ERPO_CACHE", "~/models")
    assert cache() == Path("/home/u/models")
