"""`erpo serve` as a process of its own, started and stopped by tests."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

MARKS = ("Assessment: ", "Rules: none", "Rules: [S", "Verdict: ", "think>")
"""What a trace is known by: none of it may stand in an output that hides the trace."""

HEALTHY_WITHIN = 300.0
"""Seconds; the first start on a fresh machine also downloads and converts the model."""


class Server:
    """A running `erpo serve`."""

    def __init__(self, log: Path, *flags: str, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        command = [str(Path(sys.executable).parent / "erpo"), "serve", "--port", str(port), *flags]
        with log.open("wb") as sink:
            self.process = subprocess.Popen(command, stdout=sink, stderr=sink, env={**os.environ, **environment})

    def wait(self) -> "Server":
        """Until the server says that it is ready."""
        deadline = time.monotonic() + HEALTHY_WITHIN
        while time.monotonic() < deadline and self.process.poll() is None:
            if "ERPO Server is ready" in self.log.read_text(errors="replace"):
                return self
            time.sleep(0.25)
        raise AssertionError(
            f"no server after {HEALTHY_WITHIN} s (exit code {self.process.poll()}):\n{self.log.read_text(errors='replace')[-4000:]}"
        )

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a GET."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, line: str) -> float:
        """Value of a sample by its exposition name, labels included; 0 when it is not there."""
        _, text = self.get("/metrics")
        return next((float(row.rsplit(" ", 1)[1]) for row in text.splitlines() if row.startswith(line + " ")), 0.0)

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> tuple[int, list[int]]:
        """End it; exit code, and the processes that outlived it."""
        family = [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]
        self.process.send_signal(with_signal)
        code = self.process.wait(timeout=60)
        time.sleep(0.5)
        return code, [pid for pid in family if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
