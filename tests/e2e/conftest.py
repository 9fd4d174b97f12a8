"""One real server for the whole session: `erpo serve` on the embedded model with the shipped adapter."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.e2e.serving import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server") / "log")
    try:
        yield running.wait()
    finally:
        if running.process.poll() is None:
            running.stop()


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="session")
def model(client: OpenAI) -> str:
    return client.models.list().data[0].id
