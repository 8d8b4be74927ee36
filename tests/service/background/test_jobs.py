"""Jobs: progress to the end, cancel and kill leave a consistent catalog, uploads that lead
elsewhere are refused."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indexer.core.errors import BadDataError
from indexer.core.home import Home
from indexer.feeds.archives import unpack
from indexer.index.version import Versions
from indexer.index_build import pipeline
from indexer.operations import erasure
from indexer.operations import jobs as job_files
from indexer.operations.jobs import JobProblem, Jobs, run
from service.access.keys import KeyFile
from service.app import create_app
from service.background import job_stream, leftovers, worker_process
from service.background import jobs as runner
from service.background.leadership import Leadership
from service.engine import Engine
from service.settings import Settings
from tests.service.conftest import photo
from tests.service.state.test_snapshots import wait_for

FEED = [("new-1", "ring", "red", 30), ("new-2", "dots", "blue", 40), ("new-3", "cross", "tan", 50)]


def archive(*files: tuple[str, bytes], rows: list[dict[str, Any]] | None = None) -> bytes:
    """A zip of ``files``, and of a manifest where ``rows`` are given."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name, data in files:
            packed.writestr(name, data)
        if rows is not None:
            packed.writestr("products.jsonl", "\n".join(json.dumps(row) for row in rows))
    return stream.getvalue()


def feed() -> bytes:
    """Three new products and a row whose photo is missing."""
    rows = [
        {"product_id": one, "image": f"{one}.png", "title": f"new {kind}"} for one, kind, *_ in FEED
    ]
    files = [(f"{one}.png", photo(kind, colour, turn=turn)) for one, kind, colour, turn in FEED]
    return archive(*files, rows=[*rows, {"product_id": "lost", "image": "lost.png"}])


class Sent:
    """A file as a client sent it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def save(self, dst: Path) -> None:
        dst.write_bytes(self._data)


def send(web: Any, data: bytes, **fields: Any) -> Any:
    return web.post("/v1/imports", data={"archive": (io.BytesIO(data), "feed.zip"), **fields})


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Jobs' processes that note that they run, and then do nothing until they are ended."""
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        home, job_id = command[-2:]
        Jobs(Home(home)).set(job_id, state="running")
        started.append(real([sys.executable, "-c", "import time; time.sleep(120)"], **options))
        return started[-1]

    monkeypatch.setattr(worker_process.subprocess, "Popen", start)
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_an_uploaded_feed_becomes_products(own_home: Path) -> None:
    """202 with Location; progress reaches its total; the result counts; the upload is gone; the
    products are found."""
    from service.app import create_app

    with Engine(Settings(home=own_home, poll_s=0.05)) as engine:
        web = create_app(engine, engine.settings, check_answers=True).test_client()
        response = send(web, feed())
        assert response.status_code == 202, response.get_json()
        where = response.headers["Location"]
        assert where == f"/v1/jobs/{response.get_json()['job_id']}"
        events = web.get(f"{where}/events").get_data(as_text=True)  # ends with the job
        told = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: ")]
        assert events.rstrip().split("\n\n")[-1].startswith("event: done\n")
        assert all(job["done"] <= job["total"] for job in told)
        job = web.get(where).get_json()
        assert (job["state"], job["stage"], job["done"], job["total"]) == ("done", "import", 4, 4)
        assert (job["result"]["added"], job["result"]["skipped_total"]) == (3, 1)
        assert "lost.png" in job["result"]["skipped"][0]["reason"]
        assert str(own_home) not in json.dumps(job)
        assert sorted(p.name for p in (own_home / "jobs" / job["job_id"]).iterdir()) == [
            "job.json", "owner.lock", "progress.json",
        ]  # fmt: skip
        assert [row["job_id"] for row in web.get("/v1/jobs").get_json()["jobs"]] == [job["job_id"]]
        wait_for(lambda: engine.ready().live.product_count == 23, seconds=30)
        assert web.delete(where).status_code == 409


@pytest.mark.slow
def test_a_rebuild_is_a_job(own_home: Path) -> None:
    """The version is built by a process and activated; the answer names it."""
    with Engine(Settings(home=own_home, poll_s=0.05)) as engine:
        job_id = engine.jobs.add_build(model=None, recall=None, activate=True).job_id
        wait_for(lambda: engine.jobs.get(job_id).state == "done", seconds=120)
        assert engine.jobs.get(job_id).result["version"] == "v000002"
        wait_for(lambda: engine.ready().index_version == "v000002")


@pytest.mark.long
def test_a_cancelled_import_keeps_whole_batches(own_home: Path, tmp_path: Path) -> None:
    """Cancelled after its first batch: whole batches of 256 stay, the catalog is sound, and
    importing again ends it."""
    root = tmp_path / "feeds"
    root.mkdir()
    with (root / "products.jsonl").open("w") as manifest:
        for number in range(1500):
            name = f"{number}.png"
            (root / name).write_bytes(photo("ring", "red", turn=number / 20))
            manifest.write(json.dumps({"product_id": f"many-{number}", "image": name}) + "\n")
    with Engine(Settings(home=own_home, import_root=root), watch=False) as engine:
        job_id = engine.jobs.add_import(path=".", photos="reference").job_id
        wait_for(lambda: engine.jobs.get(job_id).done >= 256, seconds=60)
        assert engine.jobs.cancel(job_id).state in ("cancelling", "cancelled")
        wait_for(lambda: engine.jobs.get(job_id).state == "cancelled", seconds=30)
        there = len(engine.catalog) - 20
        assert 256 <= there < 1500
        assert there % 256 == 0
        assert engine.home.lock("import") is not None  # let go


def test_jobs_of_a_kind_wait_for_each_other(own: Engine, lasting: list[Any]) -> None:
    """Two imports and a build: one import and the build run; cancelled, the
    second import begins."""
    first, second = (own.jobs.add_import(upload=Sent(feed())) for _ in range(2))
    build = own.jobs.add_build()
    states = [own.jobs.get(job.job_id).state for job in (first, second, build)]
    assert states == ["running", "queued", "running"]
    assert own.jobs.cancel(first.job_id).state == "cancelled"
    assert lasting[0].poll() is not None
    assert own.jobs.get(second.job_id).state == "running"


def test_a_job_that_does_not_end_holds_up_nobody(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ignores the request to end, and a walk over many files: whoever cancels is
    answered after a moment (202), what else is asked of the jobs meanwhile; the process is killed,
    and the job is cancelled then."""
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=1)"
    real, started = subprocess.Popen, []
    walking, may_end = threading.Event(), threading.Event()

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        home, job_id = command[-2:]
        Jobs(Home(home)).set(job_id, state="running")
        options["stdout"] = subprocess.PIPE
        script = f"{stubborn}; time.sleep(120)"
        started.append(real([sys.executable, "-c", script], **options))
        assert started[0].stdout is not None
        started[0].stdout.readline()
        return started[-1]

    def walk(home: Home, *, after_s: float) -> int:
        walking.set()
        assert may_end.wait(20)
        return 0

    monkeypatch.setattr(worker_process.subprocess, "Popen", start)
    monkeypatch.setattr(worker_process, "_PATIENCE_S", 1.0)
    monkeypatch.setattr(runner, "_CANCEL_WITHIN_S", 0.4)
    monkeypatch.setattr(leftovers, "sweep", walk)
    job_id = own.jobs.add_build().job_id
    web = create_app(own, own.settings).test_client()
    answers: list[Any] = []
    asking = threading.Thread(
        target=lambda: answers.append(web.delete(f"/v1/jobs/{job_id}")), daemon=True
    )
    began = time.monotonic()
    asking.start()
    wait_for((own.home.path / "jobs" / job_id / "cancel").exists)
    assert own.jobs.get(job_id).state == "cancelling"
    assert time.monotonic() - began < 0.9
    asking.join(20)
    assert 0.3 < time.monotonic() - began < 1.4
    told = answers[0].get_json()
    assert (answers[0].status_code, told["state"]) == (202, "cancelling")
    assert answers[0].headers["Location"].endswith(f"/v1/jobs/{job_id}")
    wait_for(lambda: own.jobs.get(job_id).state == "cancelled", seconds=20)
    assert web.delete(f"/v1/jobs/{job_id}").status_code == 409
    assert walking.wait(20)
    assert own.jobs.list()[0].state == "cancelled"
    may_end.set()
    assert started[0].wait(5) == -9


def test_a_killed_worker_is_a_failed_job(own: Engine, lasting: list[Any]) -> None:
    """SIGKILL from outside: failed, and the reason names the signal."""
    job_id = own.jobs.add_build().job_id
    lasting[0].kill()
    lasting[0].wait()
    job = own.jobs.get(job_id)
    assert job.problem is not None
    assert (job.state, job.problem.code) == ("failed", "worker-died")
    assert "signal 9" in job.problem.detail


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home in which no file of a job can be written."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(job_files, "write_sealed_json", full)
        patched.setattr(runner, "touch", full)
        yield


def test_a_job_that_ends_on_a_full_disk_is_noted_once_there_is_room(
    own: Engine, lasting: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then nothing fails for it: it is no job that waits, others are answered, and it is said
    once in the log."""
    told: list[str] = []
    monkeypatch.setattr(own.jobs._log, "error", lambda event, **_: told.append(event))
    monkeypatch.setattr(runner, "_MOST_WAITING", 1)
    job_id = own.jobs.add_build().job_id
    with full_disk(monkeypatch):
        lasting[0].kill()
        lasting[0].wait()
        for _ in range(3):
            assert own.jobs.get(job_id).state == "running"
    assert [event for event in told if "cannot be stored yet" in event] == told
    assert len(told) == 1
    assert own.jobs.add_import(upload=Sent(feed())).state == "running"
    job = own.jobs.get(job_id)
    assert (job.state, job.problem and job.problem.code) == ("failed", "worker-died")


def test_a_worker_that_found_the_disk_full_says_so(
    own: Engine, lasting: list[Any], monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """It could not write how it ended: its exit code does, and what it said stands in the job."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(own.home.path / "jobs" / "x"))

    job_id = own.jobs.add_build().job_id
    with monkeypatch.context() as patched:
        patched.setattr(job_files, "run", full)
        patched.setattr("structlog.configure", lambda **_: None)
        patched.setattr(job_files.os, "nice", lambda _: None)
        patched.setattr(job_files, "limit_worker", lambda: None)
        patched.setattr(job_files.signal, "signal", lambda *_: None)
        assert job_files.main([str(own.home.path), job_id]) == job_files.NO_ROOM
    said = capfd.readouterr().err.strip()
    monkeypatch.setattr(worker_process.WorkerProcess, "poll", lambda _: job_files.NO_ROOM)
    monkeypatch.setattr(worker_process.WorkerProcess, "finish", lambda _: ("", said))
    job = own.jobs.get(job_id)
    assert job.problem is not None
    assert (job.state, job.problem.code) == ("failed", "disk-full")
    assert "make room, first by catalens index gc" in job.problem.detail
    assert str(own.home.path) not in job.problem.detail


def test_a_full_disk_holds_up_no_cancelling(
    own: Engine, lasting: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No mark can be made and no state be written: the process ends all the same, a job that waits
    does not begin, and both are `cancelled` once there is room."""
    first, second = (own.jobs.add_build().job_id for _ in range(2))
    monkeypatch.setattr(runner, "_CANCEL_WITHIN_S", 0.2)
    with full_disk(monkeypatch):
        for job_id in (second, first):
            assert own.jobs.cancel(job_id).state == "cancelling"
        lasting[0].wait(10)
        own.jobs.poll()
    own.jobs.poll()
    assert [own.jobs.get(job_id).state for job_id in (first, second)] == ["cancelled"] * 2
    assert len(lasting) == 1


def test_what_a_dead_service_left_is_failed_once_there_is_room(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full when this one began to lead."""
    jobs = Jobs(own.home)
    dead = jobs.add("build", {}).job_id
    jobs.set(dead, state="running")
    with full_disk(monkeypatch):
        own.jobs.poll()
    own.jobs.poll()
    assert jobs.get(dead).problem.code == "interrupted"  # type: ignore[union-attr]


def test_a_service_that_stops_on_a_full_disk_ends_all_it_runs(
    own_home: Path, lasting: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job whose end cannot be written keeps no other process alive."""
    with Engine(Settings(home=own_home), watch=False) as engine:
        engine.jobs.add_build()
        engine.jobs.add_import(upload=Sent(feed()))
        with full_disk(monkeypatch):
            engine.jobs.close()
        assert all(process.poll() is not None for process in lasting)
        assert len(lasting) == 2


def test_a_restart_fails_what_nobody_owns_any_more(own: Engine, lasting: list[Any]) -> None:
    """Running and queued jobs of a service that died are failed with the reason; one of a living
    service is not, but run."""
    jobs = Jobs(own.home)
    dead, orphan = (jobs.add("build", {}).job_id for _ in range(2))
    jobs.set(dead, state="running")
    jobs.set(orphan, created=0.0)
    living = jobs.add("import", {}).job_id
    jobs.set(living, created=0.0)
    lock = own.jobs._lock(living)
    lock.acquire()
    own.jobs.poll()
    for job_id in (dead, orphan):
        assert jobs.get(job_id).state == "failed"
        assert jobs.get(job_id).problem.code == "interrupted"  # type: ignore[union-attr]
    assert jobs.get(living).state == "running"
    assert len(lasting) == 1
    lock.release()


def test_a_restart_collects_what_a_killed_service_half_made(own_home: Path) -> None:
    """No job, deletion or build is needed for it: an upload, a photo and a version that were being
    written are gone soon after the service leads."""
    dead = 2**22 + 17
    half = [
        own_home / "jobs" / f".{'a' * 32}.{dead}.0123abcd.tmp" / "upload",
        own_home / "photos" / "ab" / f".{'b' * 64}.{dead}.0123abcd.tmp",
        own_home / "indexes" / ".building-v000009",
    ]
    for path in half:
        path.mkdir(parents=True)
    with Engine(Settings(home=own_home), watch=False) as engine:
        engine.jobs.poll()
        wait_for(lambda: not any(path.exists() for path in half))


def test_a_long_upload_is_no_orphan_at_birth(own: Engine, lasting: list[Any]) -> None:
    """A job is as old as its place in the queue: a poll between that and the owner's lock leaves it
    alone, however long the upload took."""
    jobs = Jobs(own.home)
    before = time.time()

    def upload(path: Path) -> None:
        time.sleep(0.2)
        path.touch()

    job = jobs.add("import", {}, upload=upload)
    assert job.created >= before + 0.2
    assert jobs.get(job.job_id).created == job.created


def test_an_owner_waits_for_a_poll_that_tests_its_lock(
    own: Engine, lasting: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that holds the lock of a new job for a moment is no failure of the request."""
    real = own.jobs._jobs.add

    def add(*args: Any, **options: Any) -> Any:
        job = real(*args, **options)
        lock = own.jobs._lock(job.job_id)
        lock.acquire()
        threading.Timer(0.3, lock.release).start()
        return job

    monkeypatch.setattr(own.jobs._jobs, "add", add)
    job_id = own.jobs.add_build().job_id
    assert own.jobs.get(job_id).state == "running"


def test_a_job_that_ended_at_once_is_not_run_again(
    own: Engine, lasting: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The background may start and end a job before the request that made it goes on."""
    real = own.jobs._lock

    def lock(job_id: str) -> Any:
        own.jobs._jobs.set(job_id, state="done", result={})
        own.jobs.poll()
        return real(job_id)

    monkeypatch.setattr(own.jobs, "_lock", lock)
    assert own.jobs.add_build().state == "done"
    own.jobs.poll()
    assert lasting == []
    assert own.jobs._owned == {}


def test_a_leader_whose_lock_was_deleted_ends_its_jobs(own: Engine, lasting: list[Any]) -> None:
    """Another service took the new lock and failed them as lost: nothing of them runs on here."""
    job_id = own.jobs.add_build().job_id
    (own.home.path / "locks" / "leader.lock").unlink()
    other = Leadership(own.home)
    assert other.holds()
    assert own.jobs.get(job_id).problem.code == "interrupted"  # type: ignore[union-attr]
    assert lasting[0].poll() is not None
    other.release()
    wait_for(own.jobs._leadership.holds)
    again = own.jobs.add_build().job_id
    assert own.jobs.get(again).state == "running"


@pytest.mark.slow
def test_a_job_taken_by_a_follower_is_run_by_the_leader(own_home: Path, lasting: list[Any]) -> None:
    """Two services of a home: one starts work; the other one's job runs there, is followed and can
    be cancelled here."""
    with (
        Engine(Settings(home=own_home, poll_s=0.05)) as leader,
        Engine(Settings(home=own_home), watch=False) as follower,
    ):
        wait_for(lambda: leader._background._leadership.holds())
        job_id = follower.jobs.add_build().job_id
        wait_for(lambda: follower.jobs.get(job_id).state == "running")
        wait_for(lambda: len(lasting) == 1)
        assert follower.jobs._running == {}
        assert follower.jobs.cancel(job_id).state == "cancelled"
        assert lasting[0].poll() is not None


@pytest.mark.slow
def test_a_follower_takes_over(own_home: Path, lasting: list[Any]) -> None:
    """The leader stops: its running job is failed as interrupted, the follower's waiting one runs
    there."""
    leader = Engine(Settings(home=own_home), watch=False)
    running = leader.jobs.add_build().job_id
    with Engine(Settings(home=own_home, poll_s=0.05)) as follower:
        waiting = follower.jobs.add_build().job_id
        leader.jobs.poll()
        states = [follower.jobs.get(job_id).state for job_id in (running, waiting)]
        assert states == ["running", "queued"]
        leader.close()
        problem = follower.jobs.get(running).problem
        assert problem is not None
        assert problem.code == "interrupted"
        wait_for(lambda: follower.jobs.get(waiting).state == "running")
        wait_for(lambda: len(lasting) == 2)


def test_a_stopped_service_ends_its_jobs(own_home: Path, lasting: list[Any]) -> None:
    """Closing the engine stops the process, and the job says why."""
    with Engine(Settings(home=own_home), watch=False) as engine:
        job_id = engine.jobs.add_build().job_id
    assert lasting[0].poll() is not None
    assert Jobs(Home(own_home)).get(job_id).problem.code == "interrupted"  # type: ignore[union-attr]


def test_streams_are_bounded_and_given_back(
    own: Engine, open_web: Callable[..., Any], lasting: list[Any]
) -> None:
    """Beyond the bound 503; a client that goes away frees its place and changes nothing for the
    job."""
    web = open_web()
    job_id = own.jobs.add_build().job_id
    own.jobs._streams = threading.BoundedSemaphore(1)
    first = web.get(f"/v1/jobs/{job_id}/events")
    assert next(iter(first.response)).startswith((b"event: progress", "event: progress"))
    assert web.get(f"/v1/jobs/{job_id}/events").status_code == 503
    first.close()
    again = web.get(f"/v1/jobs/{job_id}/events")
    assert again.status_code == 200
    again.close()
    assert own.jobs.get(job_id).state == "running"
    assert web.get("/v1/jobs/unknown/events").status_code == 404


def test_a_stream_ends_with_its_key(
    own: Engine,
    open_web: Callable[..., Any],
    lasting: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever follows a job with a key that was revoked is told no more of it."""
    monkeypatch.setattr(job_stream, "_BEAT_S", 0.2)
    keys = KeyFile(own.home)
    keys.create("boss", "admin")
    key = keys.create("erp", "write").key
    job_id = own.jobs.add_build().job_id
    stream = open_web().get(f"/v1/jobs/{job_id}/events", headers={"Authorization": f"Bearer {key}"})
    events = iter(stream.response)
    for _ in range(3):
        assert next(events)
    keys.revoke("erp")
    assert len(list(events)) <= 1
    stream.close()
    assert own.jobs.get(job_id).state == "running"


@pytest.mark.parametrize(
    ("start", "allowed"),
    [("import", ["write", "admin"]), ("build", ["admin"]), ("undo", ["admin"])],
)
def test_a_job_is_cancelled_by_who_may_start_it(
    own: Engine, open_web: Callable[..., Any], lasting: list[Any], start: Any, allowed: list[Any]
) -> None:
    keys = KeyFile(own.home)
    web = open_web()
    for role in ("write", "admin"):
        key = keys.create(role, role).key
        options = {"path": "feed", "root": "/"} if start == "import" else {}
        job_id = own.jobs._add(start, options).job_id
        answer = web.delete(f"/v1/jobs/{job_id}", headers={"Authorization": f"Bearer {key}"})
        if role in allowed:
            assert answer.status_code in (200, 202)
        else:
            assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")
            assert own.jobs.get(job_id).state in ("queued", "running")


# -- what may be read


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../evil.png", "leads out"),
        ("/etc/evil.png", "leads out"),
        ("a/../../evil.png", "leads out"),
        ("..\\evil.png", "leads out"),
        ("C:/evil.png", "drive"),
    ],
)
def test_an_archive_cannot_write_elsewhere(
    open_web: Callable[..., Any], own: Engine, name: str, said: str
) -> None:
    """422 that names the entry, before a job exists."""
    response = send(open_web(), archive((name, b"x"), ("good.png", photo("ring", "red"))))
    assert (response.status_code, response.get_json()["code"]) == (422, "bad-data")
    assert said in response.get_json()["detail"]
    assert Jobs(own.home).list() == []
    assert list(own.home.path.glob("jobs/*")) == list(own.home.path.glob("jobs/.*")) == []


def test_links_and_bombs_are_refused(open_web: Callable[..., Any], tmp_path: Path) -> None:
    """A symbolic link, no zip at all, and more bytes than allowed, declared or not."""
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr(link, "/etc/passwd")
    web = open_web()
    assert "no plain file" in send(web, stream.getvalue()).get_json()["detail"]
    assert "no readable zip" in send(web, b"PK nothing").get_json()["detail"]
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros.png", bytes(1_000_000))
    with pytest.raises(BadDataError, match="1000000 bytes, more than the 1000 allowed"):
        unpack(bomb, tmp_path / "out", most_bytes=1000)
    lying = bomb.read_bytes().replace((1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    bomb.write_bytes(lying)
    with pytest.raises(BadDataError):
        unpack(bomb, tmp_path / "out2", most_bytes=1000)
    assert sum(path.stat().st_size for path in (tmp_path / "out2").iterdir()) <= 1000


def test_paths_stay_below_the_import_root(own_home: Path, tmp_path: Path) -> None:
    """Off without the setting; above it, absolute elsewhere and through a link: the same 422 for
    all."""
    root = tmp_path / "feeds"
    (root / "inner").mkdir(parents=True)
    (root / "link").symlink_to("/")
    with Engine(Settings(home=own_home), watch=False) as engine:
        from service.app import create_app

        web = create_app(engine, engine.settings).test_client()
        assert "import_root" in web.post("/v1/imports", json={"path": "."}).get_json()["detail"]
        engine.jobs._root = root.resolve()
        for path in ("..", "/etc", "link/etc", "nowhere", "inner/../../x", "a\0b"):
            response = web.post("/v1/imports", json={"path": path})
            assert response.status_code == 422, path
            assert "nothing at" in response.get_json()["detail"]
        assert web.post("/v1/imports", json={}).status_code == 422


def test_an_import_s_form_takes_every_parameter(
    own: Engine, lasting: list[Any], tmp_path: Path
) -> None:
    """``photos`` and ``path`` are texts as they stand; a form without an archive and without a path
    is refused."""
    from service.app import create_app

    own.jobs._root = tmp_path.resolve()
    web = create_app(own, own.settings, check_answers=True).test_client()
    uploaded = send(web, feed(), photos="copy", dry_run="true")
    assert (uploaded.status_code, uploaded.get_json()["options"]["dry_run"]) == (202, True)
    form = {"path": ".", "photos": "reference"}
    read = web.post("/v1/imports", data=form, content_type="multipart/form-data")
    assert (read.status_code, read.get_json()["options"]["photos"]) == (202, "reference")
    both = send(web, feed(), path=".")
    neither = web.post("/v1/imports", data={"photos": "copy"}, content_type="multipart/form-data")
    for refused in (both, neither):
        assert refused.status_code == 422
        assert "an archive (multipart file) or a path" in refused.get_json()["detail"]


def test_no_path_of_the_machine_is_told(
    own: Engine, open_web: Callable[..., Any], tmp_path: Path
) -> None:
    """What a failed job says names neither home nor import root; what nobody foresaw is for the log
    alone."""
    web, jobs, root = open_web(), Jobs(own.home), tmp_path / "feeds"
    (root / "empty").mkdir(parents=True)
    empty = jobs.add("import", {"path": str(root / "empty"), "root": str(root)})
    whole = jobs.add("import", {"path": str(root), "root": str(root)})
    archived = jobs.add(
        "import",
        {"most_bytes": 10**6},
        upload=lambda path: path.write_bytes(archive(("a.txt", b"x"))) and None,
    )
    lost = jobs.add("import", {"most_bytes": 10**6})  # without its upload
    for job in (empty, whole, archived, lost):
        run(own.home, job.job_id)
        problem = jobs.get(job.job_id).problem
        assert problem is not None
        assert str(tmp_path) in problem.detail, "the operator's own files say where"
        for answer in (
            web.get(f"/v1/jobs/{job.job_id}"),
            web.get("/v1/jobs"),
            web.get(f"/v1/jobs/{job.job_id}/events"),
        ):
            assert str(tmp_path) not in answer.get_data(as_text=True)
    told = {job.job_id: own.jobs.get(job.job_id).problem for job in (empty, whole, archived, lost)}
    assert told[empty.job_id].detail.startswith("empty holds no photos")
    assert told[whole.job_id].detail.startswith(
        "the folder that imports may read from holds no photos"
    )
    assert told[archived.job_id].detail.startswith("the archive holds no photos")
    assert told[lost.job_id] == JobProblem(
        "internal", "an unexpected failure; the service's log says why"
    )


def test_a_feed_of_several_is_named(own: Engine, tmp_path: Path) -> None:
    """An archive with two feeds is read by the name of one, also one folder down; without a name
    the refusal lists them."""
    data = archive(
        ("shop/products.csv", b"product_id,image\nzipped,a.png\n"),
        ("shop/stock.csv", b"product_id,stock\nzipped,3\n"),
        ("shop/a.png", photo("ring", "red", turn=55)),
    )
    jobs = Jobs(own.home)
    told = {}
    for name in (None, "products.csv"):
        job = jobs.add("import", {"most_bytes": 10**6, "feed": name}, upload=Sent(data).save)
        run(own.home, job.job_id)
        told[name] = jobs.get(job.job_id)
    assert told[None].problem is not None
    assert "(products.csv, stock.csv): name the one" in told[None].problem.detail
    result = told["products.csv"].result
    assert result is not None
    assert (result["added"], result["skipped_total"]) == (1, 0)


def test_a_manifest_cannot_read_elsewhere(own: Engine, tmp_path: Path) -> None:
    """Absolute, upward and linked photos of a feed are skipped; only what lies inside comes in, and
    the reason does not tell whether there is such a file."""
    root, other = tmp_path / "feeds", tmp_path / "private.png"
    root.mkdir()
    other.write_bytes(photo("dots", "red", turn=77))
    (root / "good.png").write_bytes(photo("ring", "tan", turn=33))
    (root / "linked.png").symlink_to(other)
    images = ["good.png", str(other), "../private.png", "linked.png"]
    images += ["/etc/passwd", "/etc", "/etc/nothing", "../nothing.png", "nothing.png"]
    rows = [json.dumps({"product_id": f"n{i}", "image": image}) for i, image in enumerate(images)]
    (root / "products.jsonl").write_text("\n".join(rows))
    jobs = Jobs(own.home)
    job_id = jobs.add("import", {"path": str(root), "root": str(root)}).job_id
    run(own.home, job_id)
    job = jobs.get(job_id)
    assert (job.state, job.result["added"], job.result["skipped_total"]) == ("done", 1, 8)  # type: ignore[index]
    reasons = {row["value"]: row["reason"] for row in job.result["skipped"]}  # type: ignore[index]
    assert set(reasons) == set(images[1:])
    for image, reason in reasons.items():
        assert reason.startswith(f"there is no file {image} among those that may be read here; ")
    assert own.catalog.pid("n0") is not None
    assert own.catalog.pid("n1") is None


def test_a_linked_feed_reads_nothing_elsewhere(own: Engine, tmp_path: Path) -> None:
    """A link to a file outside of the root is no feed: neither a row of it comes in, nor is a line
    of it answered; linked folders are not looked into."""
    root, private = tmp_path / "feeds", tmp_path / "private"
    for folder in (root / "linked", root / "whole", private):
        folder.mkdir(parents=True)
    (private / "payroll.csv").write_text("product_id,image,title\nn1,a.png,salary of Jane\n")
    (private / "secret.png").write_bytes(photo("dots", "red", turn=77))
    (root / "linked" / "feed.csv").symlink_to(private / "payroll.csv")
    (root / "linked" / "a.png").write_bytes(photo("ring", "tan", turn=33))
    (root / "whole" / "more").symlink_to(private)
    (root / "whole" / "a.png").write_bytes(photo("ring", "tan", turn=35))
    jobs = Jobs(own.home)
    told = []
    for name, feed_name in (("linked", "feed.csv"), ("linked", None), ("whole", None)):
        options = {"path": str(root / name), "root": str(root), "feed": feed_name}
        job_id = jobs.add("import", options).job_id
        run(own.home, job_id)
        told.append(json.dumps(jobs.get(job_id).result) + str(jobs.get(job_id).problem))
    assert not any("Jane" in text or "secret" in text or "payroll" in text for text in told)
    titles = {product.title for product in own.catalog.iterate()}
    assert "salary of Jane" not in titles
    assert own.catalog.pid("a") is not None


def test_a_bad_feed_is_a_failed_job(own: Engine) -> None:
    """No photo in the archive: failed with the reason, nothing changed."""
    jobs = Jobs(own.home)
    data = archive(("readme.txt", b"hello"))
    job_id = jobs.add(
        "import", {"most_bytes": 10**6}, upload=lambda path: path.write_bytes(data) and None
    ).job_id
    run(own.home, job_id)
    assert jobs.get(job_id).state == "failed"
    assert jobs.get(job_id).problem.code == "bad-data"  # type: ignore[union-attr]
    assert len(own.catalog) == 20


def test_a_build_that_fails_leaves_no_version(own: Engine) -> None:
    """Its model is gone: failed with the model's name; the versions are what they were."""
    jobs = Jobs(own.home)
    job_id = jobs.add("build", {"model": "nowhere"}).job_id
    run(own.home, job_id)
    assert jobs.get(job_id).problem.code == "unknown-model"  # type: ignore[union-attr]
    assert Versions(own.home).names() == ["v000001"]


def test_a_version_that_stands_is_not_cancelled(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that published hears no more of being cancelled, so that no version serves of a
    build that was said to leave none."""
    said: list[str] = []

    def published(*_: object, progress: Any, **__: object) -> None:
        progress("publish", 0, 1)
        said.append("publishes")
        progress("publish", 1, 1)
        said.append("activates")
        raise BadDataError("end")

    monkeypatch.setattr(pipeline, "build_index", published)
    job_id = Jobs(own.home).add("build", {}).job_id
    assert not Jobs(own.home).is_made(job_id)
    run(own.home, job_id, on_made=lambda: said.append("safe"))
    assert said == ["publishes", "safe", "activates"]
    assert Jobs(own.home).is_made(job_id)


def test_a_published_build_that_is_slow_to_end_is_not_called_cancelled(
    own: Engine, lasting: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes after its version stands, it is not killed for a request to cancel, and
    where it dies it is not `cancelled`, which says that there is no version."""
    monkeypatch.setattr(worker_process, "_PATIENCE_S", 0.0)
    job = own.jobs.add_build()
    wait_for(lambda: own.jobs.get(job.job_id).state == "running" or bool(lasting))
    (process,) = lasting
    jobs = Jobs(own.home)
    jobs.mark_made(job.job_id)
    assert own.jobs.cancel(job.job_id).state == "cancelling"
    for _ in range(3):
        own.jobs.poll()
    assert process.poll() is None
    process.kill()
    process.wait()
    own.jobs.poll()
    ended = jobs.get(job.job_id)
    assert (ended.state, ended.problem and ended.problem.code) == ("failed", "worker-died")


def test_a_build_takes_no_folder_of_this_machine(
    own: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a model that came over HTTP is one of the home's, whatever lies in the working
    directory."""
    known = next(own.home.models.glob("m*"))
    shutil.copytree(known, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    jobs = Jobs(own.home)
    for name in ("model", str(tmp_path / "model")):
        job_id = jobs.add("build", {"model": name}).job_id
        run(own.home, job_id)
        assert jobs.get(job_id).problem.code == "unknown-model"  # type: ignore[union-attr]


def test_erasure_takes_names_out_of_what_jobs_said(own: Engine) -> None:
    """A result may name an erased product's row, so its erasure leaves counts alone; whoever was
    given a job's name still finds how it ended. One that has nothing to erase changes nothing."""
    jobs = Jobs(own.home)
    done, failed, stopped, _ = (jobs.add("import", {"feed": "a.csv"}).job_id for _ in range(4))
    said = {"skipped": [{"where": "products.csv:3", "reason": "cross-red"}], "skipped_total": 1,
            "counts": {"added": 7}, "why": "of cross-red", "profile": "auto"}  # fmt: skip
    jobs.set(done, state="done", result=said)
    jobs.set(failed, state="failed", problem=JobProblem("bad-data", "line 3: cross-red"))
    jobs.set(stopped, state="failed", problem=JobProblem("interrupted", "start it again"))
    before = jobs.list()
    erasure.erase(own.home)
    assert jobs.list() == before
    own.products.delete("cross-red")
    erasure.erase(own.home)
    assert jobs.get(done).result == {
        "skipped": [], "skipped_total": 1, "counts": {"added": 7}, "why": "[erased]",
        "profile": "auto",
    }  # fmt: skip
    assert jobs.get(failed).problem == JobProblem("bad-data", "[erased]")
    assert jobs.get(stopped).problem == JobProblem("interrupted", "start it again")
    for job in before:
        now = jobs.get(job.job_id)
        assert (now.state, now.options, now.ended) == (job.state, job.options, job.ended)
    texts = [path.read_text() for path in jobs.folder.rglob("*.json")]
    assert texts
    assert not any("cross-red" in text for text in texts)


def test_a_job_forgotten_before_its_process_ended_stops_no_other(
    own: Engine, lasting: list[Any]
) -> None:
    """An erasure forgets jobs that ended while their processes tidy up: the next of its kind
    begins."""
    jobs = Jobs(own.home)
    first = own.jobs.add_import(upload=Sent(feed())).job_id
    jobs.set(first, state="done")
    assert jobs.forget(keep=0) == 1
    second = own.jobs.add_import(upload=Sent(feed())).job_id
    own.jobs.poll()
    assert lasting[0].poll() is None
    assert own.jobs.get(second).state == "running"


def test_old_jobs_are_forgotten(own: Engine) -> None:
    """Of ended jobs the newest are kept."""
    jobs = Jobs(own.home)
    made = [jobs.add("build", {}).job_id for _ in range(5)]
    for number, job_id in enumerate(made):
        jobs.set(job_id, created=number, state="done")
    assert jobs.forget(keep=2) == 3
    assert [job.job_id for job in jobs.list()] == [made[4], made[3]]


def test_whoever_follows_a_job_is_let_go_at_the_end(own: Engine) -> None:
    """A stream ends at once where the service ends, though its job goes on."""
    job_id = Jobs(own.home).add("import", {}).job_id
    ending = threading.Event()
    stream = own.jobs.watch(job_id, ending)
    changes = iter(stream)
    assert next(changes).job_id == job_id
    ending.set()
    assert list(changes) == []
    stream.close()


def test_jobs_advise_fields_of_requests(own: Engine) -> None:
    """Why one failed, and what a report says of it, names no option of a command; what the feed
    holds stays as it is."""
    jobs = Jobs(own.home)
    failed = jobs.add("import", {}).job_id
    jobs.set(failed, state="failed", problem=JobProblem("bad-data", "--encoding x: no such one"))
    line = {"where": "f:2", "reason": "an address, not fetched: add --fetch", "value": "--fetch"}
    done = jobs.add("import", {}).job_id
    why = "it was asked for (--profile)"
    result = {"why": why, "skipped": [line], "warnings": [{**line, "lines": [line]}]}
    jobs.set(done, state="done", result=result)
    problem = own.jobs.get(failed).problem
    assert problem is not None
    assert problem.detail == "`encoding` x: no such one"
    told = own.jobs.get(done).result
    assert told is not None
    assert told["why"] == "it was asked for (`profile`)"
    said = {**line, "reason": "an address, not fetched: add `fetch`"}
    assert told["skipped"] == [said]
    assert told["warnings"] == [{**said, "lines": [said]}]
