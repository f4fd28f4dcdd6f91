"""Archives to Parquet files with Ray: the same rows as without it, from folders and from an object store."""

import itertools
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import scarlens
from scarlens.datasets.reading.reader import MAX_BYTES
from scarlens.datasets.rendering import write_photos
from scarlens.inference.batch import cluster
from scarlens.inference.batch.cluster import COMPLETE, ClusterError, predict_archive
from scarlens.inference.batch.table import schema

# Ray Data uses settings of its own that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

WORKERS = 2


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """A cluster of this machine, whose workers may use the object store."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        ray.init(address="local", num_cpus=WORKERS + 1, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture
def store(ray: None) -> Iterator[tuple[Any, str]]:
    """A client of an object store on this machine, with a bucket, and what to add to its URLs."""
    pytest.importorskip("moto")
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer  # pyright: ignore[reportMissingImports]

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="archive")
    yield client, f"?endpoint_override={host}:{port}&scheme=http"
    server.stop()


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rendered")
    write_photos(folder, count=12, seed=3, size=128)
    return sorted(folder.glob("*/*.jpg")) or sorted(folder.glob("*/*.png"))


@pytest.fixture
def folder(rendered: list[Path], tmp_path: Path) -> Path:
    """Photos among files that are none, under names that an object store has as well."""
    folder = tmp_path / "photos"
    for number, photo in enumerate(rendered):
        place = folder / f"{number % 3}" / photo.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, place)
    for name in ("_under.jpg", "#1 %2e+&=;.jpg", "\u5199\u771f.jpg", "back\\slash.jpg", "\u202egpj.exe"):
        shutil.copy(rendered[0], folder / name)
    (folder / ".hidden").mkdir()
    shutil.copy(rendered[0], folder / ".hidden" / "photo.jpg")
    (folder / "text.jpg").write_text("no photo")
    (folder / "empty.jpg").touch()
    (folder / "cut.jpg").write_bytes(rendered[0].read_bytes()[:500])
    with (folder / "large.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    return folder


def written(output: Path) -> list[dict[str, Any]]:
    table = pq.read_table(output)
    assert table.schema.equals(schema()) and not table.schema.metadata
    assert (output / COMPLETE).is_file()
    return sorted(table.to_pylist(), key=lambda row: os.fsencode(row["path"]))


def plain(folder: Path) -> list[dict[str, Any]]:
    scarlens.predict_folder(folder, folder.parent / "plain.parquet", workers=WORKERS)
    rows = pq.read_table(folder.parent / "plain.parquet").to_pylist()
    return sorted(rows, key=lambda row: os.fsencode(row["path"]))


def test_a_folder_gives_the_rows_of_the_plain_engine(ray: None, folder: Path) -> None:
    (folder / "line\nfeed.jpg").write_bytes((folder / "_under.jpg").read_bytes())
    shutil.copy(folder / "_under.jpg", folder.parent / "outside.jpg")
    (folder / "outside.jpg").symlink_to("../outside.jpg")
    (folder / "nowhere.jpg").symlink_to("nothing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "fifo.jpg")
    summary = predict_archive(folder, folder.parent / "table", workers=WORKERS)
    rows = plain(folder)
    assert written(folder.parent / "table") == rows
    assert {"ok", "error"} <= {row["status"] for row in rows}
    assert summary.total == len(rows) == summary.ok + summary.abstained + summary.errors
    assert summary.errors == sum(row["status"] == "error" for row in rows)
    assert {row["model_id"] for row in rows} == {summary.model_id}


def test_an_object_store_gives_the_rows_of_the_plain_engine(store: tuple[Any, str], folder: Path) -> None:
    client, query = store
    for path in folder.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "archive", f"photos/{path.relative_to(folder)}")
    client.put_object(Bucket="archive", Key="photos-of-others/photo.jpg", Body=b"not asked for")
    output = f"s3://archive/tables/first{query}"
    summary = predict_archive(f"s3://archive/photos{query}", output, workers=WORKERS)
    listing = client.list_objects_v2(Bucket="archive", Prefix="tables/first/")["Contents"]
    for entry in listing:
        if not entry["Key"].endswith("/"):
            target = folder.parent / "copy" / Path(entry["Key"]).name
            target.parent.mkdir(exist_ok=True)
            client.download_file("archive", entry["Key"], str(target))
    rows = plain(folder)
    assert written(folder.parent / "copy") == rows
    assert summary.total == len(rows) and summary.output == output
    with pytest.raises(ClusterError, match="expected an empty folder"):
        predict_archive(f"s3://archive/photos{query}", output, workers=WORKERS)


def test_an_object_that_cannot_be_fetched_costs_one_row(store: tuple[Any, str], folder: Path, tmp_path: Path) -> None:
    client, query = store
    client.upload_file(str(folder / "_under.jpg"), "archive", "few/good.jpg")
    client.put_object(Bucket="archive", Key="few/a//b.jpg", Body=b"pyarrow has no name for it")
    predict_archive(f"s3://archive/few{query}", tmp_path / "table", workers=1)
    bad, good = written(tmp_path / "table")
    assert (bad["path"], bad["status"], good["status"]) == ("a//b.jpg", "error", "ok")
    assert bad["reason"].startswith("expected an object that can be read, found ")


def test_a_missing_archive_is_an_error(store: tuple[Any, str], tmp_path: Path) -> None:
    for source in (f"s3://archive/nothing{store[1]}", f"s3://no-such-bucket/x{store[1]}", str(tmp_path / "nothing")):
        with pytest.raises(ClusterError, match="expected a folder of photos, found nothing"):
            predict_archive(source, tmp_path / "table")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_workers_that_are_killed_cost_nothing(ray: None, rendered: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(400):
        shutil.copy(rendered[number % len(rendered)], folder / f"{number}.jpg")
    killed: list[int] = []
    ended = threading.Event()

    def kill() -> None:
        while len(killed) < 3 and not ended.wait(0.7):
            killed.extend(kill_one_that_reads(but_not=killed))

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        predict_archive(folder, tmp_path / "table", workers=WORKERS)
    finally:
        ended.set()
        killer.join()
    assert killed
    assert written(tmp_path / "table") == plain(folder)


def kill_one_that_reads(but_not: list[int]) -> list[int]:
    """Kill a worker of this process that has a process that reads photos for it."""
    parents, commands = processes()
    for reader, parent in parents.items():
        worker = commands.get(parent, b"")
        if b"inference.batch.worker" not in commands[reader] or not worker.startswith(b"ray::") or parent in but_not:
            continue
        if os.getpid() in itertools.accumulate(range(6), lambda pid, _: parents.get(pid, 0), initial=parent):
            os.kill(parent, signal.SIGKILL)
            return [parent]
    return []


def processes() -> tuple[dict[int, int], dict[int, bytes]]:
    """Return the parent and the command of each process of this machine."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(folder.name)] = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended
            parents.pop(int(folder.name), None)
    return parents, commands


def test_a_cluster_of_this_machine_is_started_and_ended(
    rendered: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray.shutdown()
    (tmp_path / "photos").mkdir()
    shutil.copy(rendered[0], tmp_path / "photos")
    predict_archive(tmp_path / "photos", tmp_path / "table", workers=1)
    assert not ray.is_initialized()
    assert len(written(tmp_path / "table")) == 1


def test_an_empty_folder_gives_an_empty_table(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "photos").mkdir()
    summary = predict_archive(tmp_path / "photos", tmp_path / "table")
    assert summary.total == summary.ok == summary.abstained == summary.errors == 0
    assert written(tmp_path / "table") == []


def test_what_cannot_be_done_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "photos").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for source, output, message in (
        ("photos", "full", "expected an empty folder, found files; name another, or delete them"),
        ("photos", "full/file", "expected a folder to write into"),
        ("full/file", "table", "expected a folder of photos, found a file"),
    ):
        with pytest.raises(ClusterError, match=message) as caught:
            predict_archive(tmp_path / source, tmp_path / output)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ClusterError, match="a folder or URL that pyarrow can open"):
        predict_archive("nonsense://photos", tmp_path / "table")
    with pytest.raises(ValueError, match="workers must be at least 1"):
        predict_archive(tmp_path / "photos", tmp_path / "table", workers=0)


def test_a_missing_ray_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r'pip install "\.\[ray\]" in the checkout'):
        predict_archive(tmp_path, tmp_path / "table")


@pytest.mark.parametrize(("files", "workers"), [(1, 1), (1, 50), (487, 2), (10_000, 4)])
def test_files_are_divided_without_loss(files: int, workers: int) -> None:
    listed = [(b"%d" % number, "bad" if number % 7 == 0 else None) for number in range(files)]
    tasks = cluster._tasks(listed, workers)
    assert [(row["path"], row["problem"]) for task in tasks for row in task.to_pylist()] == listed
    assert len(tasks) >= min(files, 4 * workers)
    assert max(len(task) for task in tasks) <= 128
