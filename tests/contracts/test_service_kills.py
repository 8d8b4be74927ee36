"""SIGKILL of a service and its workers under clients: nothing acknowledged is lost, no answer is of
two states.

Not in the usual run: ``CATALENS_KILLS`` says how many kills (``make prove-kill KILLS=100``), and
``CATALENS_LIVE_KILL_SEED`` at which series to begin.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.feeds.importer import import_feed
from indexer.imaging.decode import decode_photo
from indexer.index.version import Versions
from indexer.index_build.pipeline import build_index
from indexer.model.open_runtime import open_embedder
from indexer.operations.garbage_collection import leftovers
from indexer.operations.sync_source import SyncSource, SyncSources
from indexer.operations.verification import verify_home
from indexer.reviews.store import open_reviews
from tests.contracts import killed_service as parts
from tests.contracts.killed_service import (
    OWNED,
    PHOTOS,
    SYNCED,
    WORKERS,
    WRITERS,
    Client,
    Ended,
    Forge,
    Part,
    Service,
    Told,
    draw,
    path_of,
    question,
    shown_state,
    state_of,
    write_feed,
)
from tools.bench.data.generated_home import projected

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("CATALENS_KILLS", "0"))
SERIES = 10  # kills of one home
SEED = int(os.environ.get("CATALENS_LIVE_KILL_SEED", "0"))
DIM = 16
OPEN_REVIEWS = 60 * SERIES
# The service's writes, per worker; what is beyond is killed when the time is up.
STEPS = {"service": 24, "jobs": 24, "compaction": 20, "erasure": 30, "sync": 10}
POLICY = "version: 1\npolicies:\n  none:\n    categories: [Nothing]\n"


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """What starts services."""
    forge = Forge(tmp_path_factory.mktemp("forge"))
    yield forge
    forge.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder with a home of two models, to be copied, and what these make of each photo: float32
    [12, 16]."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "policy.yaml").write_text(POLICY)
    home = Home.create(folder / "home")
    feed = folder / "data"
    feed.mkdir()
    rows = ["product_id,image,title,price,generation"]
    for i in range(SYNCED):
        (feed / f"{i}.png").write_bytes(draw(i))
        rows.append(f"s{i},{i}.png,s,0,0")
    (feed / "products.csv").write_text("\n".join(rows) + "\n")
    assert import_feed(home, feed).added == SYNCED
    vectors = {}
    for seed in (0, 1):
        bundle = projected(home, DIM, seed)
        embedder = open_embedder(bundle)
        vectors[bundle.model_version] = embedder.embed([decode_photo(photo) for photo in PHOTOS])
        build_index(home, bundle=bundle, activate=True, embedder=embedder)
    with open_reviews(home) as reviews:
        for number in range(OPEN_REVIEWS):
            reviews.open_review({"verdict": "review", "policies": []}, [], name=f"r{number}")
    return folder, vectors


class Series:
    """One home, killed again and again."""

    def __init__(
        self, forge: Forge, made: tuple[Path, dict[str, np.ndarray]], own: Path, seed: int
    ) -> None:
        folder, vectors = made
        self.forge = forge
        self.rng = random.Random(seed)
        self.vectors = vectors
        # Every third home is one in which nothing but people activates versions.
        self.calm = seed % 3 == 2
        shutil.copytree(folder / "home", own / "home")
        self.home = Home(own / "home")
        self.policy = folder / "policy.yaml"
        self.told = Told()
        self.told.reviews = {f"r{number}": None for number in range(OPEN_REVIEWS)}
        active = self.home.active()
        assert active is not None
        self.told.activated = active.index_version
        self.feed = own / "feed.csv"
        write_feed(self.feed, self.told)
        SyncSources(self.home).add(
            SyncSource("stock", str(self.feed), 0.5, only=("price", "generation"), join="id")
        )

    def service(self, kill: str) -> Service:
        return Service(
            self.forge,
            self.home.path,
            kill,
            poll_s=0.05,
            max_delta=0 if self.calm else 3,
            erase_within_s=20,
            policy_file=self.policy,
            key_rate=0,
        )

    def cycle(self) -> None:
        """One life: look at what the last one left, ask and write, be killed."""
        rng, told = self.rng, self.told
        told.life += 1
        role = rng.choice(["service", "service", *WORKERS])
        whom = "group" if role == "service" else rng.choice(["group", "parent", "self"])
        at = rng.randint(1, STEPS[role])
        service = self.service(f"{role}|{at}|{whom}")
        early = rng.random() < 0.2  # killed at its start, or while it is looked at
        if early:
            service.armed.touch()
        try:
            if not service.ready():
                told.note(f"killed at the start: {role}")
            elif not self._looked(service.port, early=early):
                # Nothing is asked of it: what was on its way must be looked at first.
                told.note(f"killed while it was looked at: {role}")
            else:
                service.armed.touch()
                died = self._ask_for(service, rng.uniform(0.5, 6.0), group=rng.random() < 0.7)
                told.note(f"killed at a step of {role}" if died else "killed by the clock")
            # Workers end by themselves where the service alone was killed.
            left = service.survivors()
        finally:
            service.kill(group=True)
        assert left == [], left
        self._judge_answers()
        if rng.random() < 0.3:
            found = verify_home(self.home.path)
            assert found.intact, found.damages

    def _ask_for(self, service: Service, seconds: float, *, group: bool) -> bool:
        """Let all clients ask until the service dies, killed after that time at the latest; whether
        it died before."""
        writer = parts.KeepingWriter if self.calm else parts.WriterPart
        told, port = self.told, service.port
        asking: list[Part] = [writer(port, told, number) for number in range(WRITERS)]
        asking += [parts.SearchPart(port, told), parts.ReviewPart(port, told)]
        asking += [parts.SwitchPart(port, told)]
        feeder = parts.FeedPart(port, told)
        feeder.feed = self.feed
        asking.append(feeder)
        if not self.calm:
            jobs = parts.JobPart(port, told)
            jobs.models = tuple(self.vectors)
            asking.append(jobs)
        for part in asking:
            part.start()
        died = not service.live(seconds)
        if not died:
            service.kill(group=group)
        for part in asking:
            part.quiet.set()
        for part in asking:
            part.join(30)
            assert not part.is_alive(), type(part).__name__
        return died

    # -- what must hold

    def _judge_answers(self) -> None:
        """Each answer of the last life is of one model and each result of one state."""
        told = self.told
        for answer in told.answers:
            stored = self.vectors[answer["model_version"]].astype(np.float16).astype(np.float32)
            query = self.vectors[answer["model_version"]][answer["asked"]]
            scores = [row["score"] for row in answer["results"]]
            assert scores == sorted(scores, reverse=True)
            for row in answer["results"]:
                name, state = row["product_id"], shown_state(row)
                expected = float(stored[state["photo"]] @ query)
                assert row["score"] == pytest.approx(expected, abs=5e-3), (row, answer["asked"])
                assert state["price"] == state["generation"], row
                if not name.startswith("s"):
                    put = int(state["title"][1:])
                    assert state["photo"] == parts.photo_of(name, put), row
                    assert state["generation"] >= put, row
        told.answers.clear()
        assert told.wrong == []

    def _looked(self, port: int, *, early: bool) -> bool:
        """``look``; whether the service, where it is killed ``early``, lived so long."""
        try:
            self.look(port)
        except Ended:
            if not early:
                raise
            return False
        return True

    def look(self, port: int) -> None:
        """Everything that the clients were told holds; what was on its way was done or not."""
        ask = Client(port)
        # Before the products: one that is taken up again may end meanwhile.
        jobs = {job["job_id"]: job for job in ask("GET", "/v1/jobs")[1]["jobs"]}
        self._products(ask)
        self._jobs(jobs)
        self._reviews(ask)
        self._feeds()
        if self.calm:
            self._active()

    def _products(self, ask: Client) -> None:
        told = self.told
        answer = self._all(ask)
        found = {row["product_id"]: shown_state(row) for row in answer["results"]}
        assert len(found) == len(answer["results"])
        done = {}
        for number in range(WRITERS):
            for i in range(OWNED):
                name = f"w{number}/{i}"
                known = told.products.get(name)
                status, stored = ask("GET", path_of(name))
                assert status in (200, 404), stored
                state = shown_state(stored) if status == 200 else None
                assert state == found.pop(name, None), name
                done[name] = name in told.on_way and state == told.on_way[name]
                assert state == known or done[name], (name, known, told.on_way.get(name), state)
                told.products[name] = state
        for one, other in told.pairs:
            assert done[one] == done[other], "half of a batch"
        told.on_way.clear()
        told.pairs.clear()
        for i in range(SYNCED):
            found.pop(f"s{i}")
        imports = {name: names for name, (_, names) in told.jobs.items() if names}
        for job, names in imports.items():
            states = [found.pop(name, None) for name in names]
            whole = [state_of(name, 1, 1) for name in names]
            assert states in (whole, [None] * len(names)), (job, states)
            if states == whole:
                told.products.update(zip(names, states, strict=True))
            else:
                assert not any(name in told.products for name in names), (job, "lost")
        for names in told.imports:  # taken or not, and if so whole
            states = [found.pop(name, None) for name in names]
            assert states in ([state_of(name, 1, 1) for name in names], [None] * len(names))
        assert found == {}

    def _all(self, ask: Client) -> dict[str, Any]:
        """A search for everything; an import that was taken up again may have to be embedded."""
        until = time.monotonic() + 60
        while True:
            wanted = question(0, min_sequence=self.told.sequence)
            status, answer = ask("POST", "/v1/search", wanted)
            assert status == 200, answer
            if answer.get("complete", True):
                return dict(answer)
            assert time.monotonic() < until, "never complete"
            time.sleep(0.1)

    def _jobs(self, listed: dict[str, dict[str, Any]]) -> None:
        told = self.told
        for job_id, (life, names) in told.jobs.items():
            job = listed.get(job_id)
            if job is None:
                told.note(f"jobs not in the list after {told.life - life} lives")
                told.wrong.append(f"job {job_id} of life {life} is forgotten")
                continue
            if job["state"] == "failed":
                assert job["problem"]["code"] in ("interrupted", "worker-died", "busy"), job
            elif job["state"] == "done":
                assert all(name in told.products for name in names), job
            else:
                assert life >= told.life - 5, (told.life, life, job)

    def _reviews(self, ask: Client) -> None:
        told = self.told
        for name, decision in list(told.reviews.items()):
            if decision is None and name not in told.deciding and self.rng.random() < 0.95:
                continue
            status, review = ask("GET", f"/v1/reviews/{name}")
            assert status == 200, (name, review)
            if review["decided"] is None:
                assert decision is None, (name, decision)
            else:
                decided = review["decided"]["decision"]
                assert decided in (decision, told.deciding.get(name)), (name, decision, review)
                assert review["decided"]["reason"] == f"because {decided}"
                told.reviews[name] = decided
        told.deciding.clear()

    def _feeds(self) -> None:
        """A run that is remembered as done brought what stood in the feed when it began."""
        runs = [run for run in SyncSources(self.home).runs("stock") if run.outcome == "done"]
        brought = max((run.started for run in runs), default=0.0)
        least = max((number for at, number in self.told.feeds if at < brought), default=0)
        with open_catalog(self.home) as catalog:
            for i in range(SYNCED):
                product = catalog.get(f"s{i}")
                assert (product.fields.price or 0) >= least, (product, least)
                assert product.fields.price == product.attributes["generation"]

    def _active(self) -> None:
        active = self.home.active()
        assert active is not None
        Versions(self.home).verify(active.index_version)

    def _left(self) -> list[Path]:
        """What killed processes left half-made."""
        half_built = self.home.indexes.glob(".building-*")
        # What a job that ended brought along.
        brought = self.home.path.glob("jobs/*/u[pn]*")
        return [*leftovers(self.home.path), *half_built, *brought]

    def end(self) -> None:
        """A last life, undisturbed: all jobs end, and what the killed ones left is collected."""
        told = self.told
        told.life += 1
        for path in self._left():
            os.utime(path, (time.time() - 90_000,) * 2)
        service = self.service("none|0|self")
        try:
            assert service.ready()
            self.look(service.port)
            ask = Client(service.port)
            until = time.monotonic() + 40
            while time.monotonic() < until:
                states = {job["state"] for job in ask("GET", "/v1/jobs")[1]["jobs"]}
                left = self._left()
                if states <= {"done", "failed"} and not left:
                    break
                time.sleep(0.2)
            assert (states - {"done", "failed"}, left) == (set(), [])
            self._products(ask)
            names = Versions(self.home).names()
        finally:
            os.kill(service.pid, signal.SIGTERM)
            assert service.survivors(60) == []
        assert told.wrong == []
        found = verify_home(self.home.path)
        assert found.intact, found.damages
        told.counts["versions at the end"] += len(names)


@pytest.mark.parametrize("number", range(-(-KILLS // SERIES)))
def test_what_was_acknowledged_outlives_every_kill(
    forge: Forge, made: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, number: int
) -> None:
    """Writes, jobs, decisions, runs of feeds; results are of one model and one state; no worker
    outlives the service; the home is intact and holds no leftovers."""
    series = Series(forge, made, tmp_path, SEED + number)
    for _ in range(min(SERIES, KILLS - number * SERIES)):
        series.cycle()
    series.end()
    print(f"series {number}: {dict(series.told.counts)}")
