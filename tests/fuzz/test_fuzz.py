"""Readers of strangers' files: a file or a UserError in bounded time and memory, whatever the bytes are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.corpus import CORPUS
from tests.fuzz.misbehaving import TARGETS as MISBEHAVING
from tests.fuzz.run import Tally, fuzz
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import Worker

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is watched by Linux's means")
SHORT, LONG = 100, 1000  # files for each reader
DEADLINE_S = 30  # three times that of a run by hand: machines of continuous integration stop and go


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("fuzz"), deadline_s=DEADLINE_S) as worker:
        yield worker


def told(tally: Tally) -> str:
    """The findings of a run, for people."""
    return "\n".join(f"file {number}: {text}" for number, _, text in tally.findings)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files(worker: Worker, name: str):
    tally = fuzz(worker, name, 0, SHORT)
    assert not tally.findings, told(tally)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_damaged_files(worker: Worker, name: str):
    """Of which some are read nevertheless, and others refused: neither would be a test."""
    tally = fuzz(worker, name, 1, LONG)
    assert not tally.findings, told(tally)
    if TARGETS[name].share == 1:
        assert tally.kinds["read"] > LONG / 50 and (tally.kinds["refused"] > LONG / 50 or name == "lint")


@pytest.mark.parametrize("name", CORPUS)
def test_what_was_found(worker: Worker, name: str):
    target, data, said = CORPUS[name]
    ((_, outcome),) = worker.read(target, [data])
    assert (outcome.kind, said in outcome.text) == ("refused", True), outcome.text


@pytest.mark.parametrize("name", MISBEHAVING)
def test_the_fuzzer_notices(tmp_path: Path, name: str):
    """And goes on with a new process."""
    with Worker(tmp_path, "tests.fuzz.misbehaving", deadline_s=2) as worker:
        kinds = [outcome for _, outcome in worker.read(name, [b"damaged", b"whole"])]
    assert [outcome.kind for outcome in kinds] == ["finding", "read"]
    assert name in kinds[0].text.lower()
