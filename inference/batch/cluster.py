"""Classify an archive of photos on many machines, into a folder of Parquet files.

Ray Data schedules the work, repeats tasks of workers that died, and writes the files. Workers read and classify as
`folder` does on one machine. Ray's own reader, `ray.data.read_binary_files`, is not used: one unreadable file ends the
run, large files are read whole, and names that begin with "_" are skipped.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet

from ...datasets.errors import ScarlensError, printable
from ...datasets.offline import stay_offline
from ...datasets.reading.reader import MAX_BYTES
from ...datasets.reading.sources import is_leftover
from ..classifier import BUNDLED_CHECKPOINT, Classifier, load
from ..engine import usable_cores
from .folder import BatchSummary, classified, find_files, summary_of
from .reading import FileToRead, ReadingError, ReadingProcess
from .table import schema

COMPLETE: Final = "_SUCCESS"
"""Empty file that marks a finished run. Parquet readers skip it."""

STARTED: Final = "_STARTED"
"""Empty file that keeps a second run out of the folder until the run is finished."""

_LISTED: Final = pa.schema({"path": pa.binary(), "problem": pa.string()})
_LARGEST_TASK: Final = 128  # files; seconds of work, which is what is repeated when a worker dies
_TASKS_PER_WORKER: Final = 8  # at least, so that all workers end together
_ROWS_PER_FILE: Final = 10_000
_AHEAD: Final = 4  # objects that a worker fetches while it works: waiting for a store would cost more than reading


class ClusterError(ScarlensError):
    """The archive cannot be classified with Ray; the message says why."""

    def __str__(self) -> str:
        """Return one printable line."""
        return printable(super().__str__())


@dataclass(frozen=True)
class _Place:
    """A folder, or a prefix in an object store.

    Attributes:
        name: name as given.
        files: file system that opens its files.
        path: path in that file system; resolved if local.
    """

    name: str
    files: pyarrow.fs.FileSystem
    path: str

    @property
    def folder(self) -> Path | None:
        """The folder, if it is one that every worker sees under this path."""
        return Path(self.path) if isinstance(self.files, pyarrow.fs.LocalFileSystem) else None


def predict_archive(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    workers: int | None = None,
) -> BatchSummary:
    """Classify every file of an archive. Writes a folder of Parquet files with one row per file, in no order.

    Rows and columns are those of `folder.predict_folder`: hidden names are skipped, and unreadable files get a row with
    the error. So do objects that cannot be fetched, after the retries of the store's client. The file `COMPLETE`
    appears in the folder once all rows are there.

    It runs on the cluster that Ray is already connected to or that RAY_ADDRESS names, otherwise on this machine.

    Args:
        source: a folder that all workers see under the same path, or a URL that pyarrow can open, such as s3://bucket/photos
            or gs://bucket/photos.
        output: a folder or URL of the same kind, empty or missing.
        checkpoint: a file on this machine, which is sent to the workers; default: the bundled checkpoint.
        workers: number of workers with one core each. Default: one per core of this machine; on a cluster one per core,
            except one core for writing.

    Raises:
        ValueError: a number of workers below 1.
        ClusterError: Ray is not installed, source or output cannot be used, or the run failed.
        CheckpointError: the checkpoint cannot be loaded.
    """
    started = time.monotonic()
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    ray = _ray()
    photos, table = _place(os.fspath(source)), _place(os.fspath(output))
    checkpoint = Path(checkpoint or BUNDLED_CHECKPOINT)
    model_id = load(checkpoint).model_id
    _require_folder(photos)
    _make_empty_folder(table)
    listed = _listed(photos)
    if listed:
        with _connected(ray, workers) as size:
            shipped = ray.put(_checkpoint_files(checkpoint))  # held here, for workers that start later
            _classify(ray, _tasks(listed, size), (photos, shipped), table, size)
    else:
        with table.files.open_output_stream(f"{table.path}/0.parquet") as file:
            pyarrow.parquet.write_table(schema().empty_table(), file)
    counts = _counts(table)
    if counts.total() != len(listed):
        raise ClusterError(f"{table.name}: expected {len(listed)} rows, found {counts.total()}; run it again")
    with table.files.open_output_stream(f"{table.path}/{COMPLETE}"):
        pass
    table.files.delete_file(f"{table.path}/{STARTED}")
    return summary_of(counts, table.name, model_id, time.monotonic() - started)


def _ray() -> Any:
    stay_offline()
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ClusterError(f'expected Ray, found: {error}; pip install ".[ray]" in the checkout\'s folder') from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what ends a run is raised as well
    return ray


def _place(name: str) -> _Place:
    if "://" not in name:
        return _Place(name, pyarrow.fs.LocalFileSystem(), os.path.realpath(name))
    try:
        files, path = pyarrow.fs.FileSystem.from_uri(name)
        return _Place(name, files, os.path.realpath(path) if isinstance(files, pyarrow.fs.LocalFileSystem) else path)
    except (pa.ArrowInvalid, OSError) as error:
        raise _refused(name, "a folder or URL that pyarrow can open", error) from error


def _refused(name: str, expected: str, error: Exception) -> ClusterError:
    return ClusterError(f"{name}: expected {expected}, found {type(error).__name__}: {error}")


def _make_empty_folder(table: _Place) -> None:
    try:
        found = table.files.get_file_info(pyarrow.fs.FileSelector(table.path, allow_not_found=True))
        if not found:
            table.files.create_dir(table.path, recursive=True)
    except OSError as error:
        raise _refused(table.name, "a folder to write into", error) from error
    if found:
        raise ClusterError(f"{table.name}: expected an empty folder, found files; name another, or delete them")
    with table.files.open_output_stream(f"{table.path}/{STARTED}"):
        pass


def _require_folder(photos: _Place) -> None:
    try:
        kind = photos.files.get_file_info(photos.path).type
    except OSError as error:
        raise _refused(photos.name, "a folder that can be looked at", error) from error
    if kind != pyarrow.fs.FileType.Directory:
        found = "nothing of this name" if kind == pyarrow.fs.FileType.NotFound else "a file"
        raise ClusterError(f"{photos.name}: expected a folder of photos, found {found}")


def _listed(photos: _Place) -> list[tuple[bytes, str | None]]:
    """List the files: relative paths, each with the reason if it is already known to be unreadable."""
    try:
        return [*(find_files(photos.folder) if photos.folder else _find_objects(photos))]
    except OSError as error:
        raise _refused(photos.name, "a folder that can be listed", error) from error


def _find_objects(photos: _Place) -> Iterator[tuple[bytes, str | None]]:
    """Do what `folder.find_files` does, for an object store."""
    for entry in photos.files.get_file_info(pyarrow.fs.FileSelector(photos.path, recursive=True)):
        path = entry.path.removeprefix(f"{photos.path}/")
        if entry.type != pyarrow.fs.FileType.Directory and not any(map(is_leftover, path.split("/"))):
            yield os.fsencode(path), _too_large(entry.size or 0)


def _too_large(size: int) -> str | None:
    expected = f"expected a regular file of at most {MAX_BYTES:,} bytes"
    return f"{expected}, found one of {size:,} bytes" if size > MAX_BYTES else None


def _checkpoint_files(checkpoint: Path) -> dict[str, bytes]:
    """Read a checkpoint and, if it exists, the ONNX form next to it."""
    files = dict.fromkeys((checkpoint, checkpoint.with_suffix(".onnx")))
    return {path.name: path.read_bytes() for path in files if path.is_file()}


@contextmanager
def _connected(ray: Any, workers: int | None) -> Iterator[int]:
    """Connect to a cluster, or start a temporary one on this machine; yield the number of workers."""
    if ray.is_initialized() or "RAY_ADDRESS" in os.environ:
        if not ray.is_initialized():
            _connect(ray)
        yield workers or max(1, int(ray.cluster_resources().get("CPU", 1)) - 1)
        return
    workers = workers or usable_cores()
    # If the actors claim all cores, Ray Data can wait forever for a core to write with: leave one core unclaimed.
    _initialise(ray, address="local", num_cpus=workers + 1, include_dashboard=False)
    try:
        yield workers
    finally:
        ray.shutdown()


def _connect(ray: Any) -> None:
    try:
        _initialise(ray)
    except ConnectionError as error:
        found = f"{error}; check that it is running, and whether it needs RAY_AUTH_MODE=token"
        raise ClusterError(f"expected the cluster that RAY_ADDRESS names, found: {found}") from error


def _initialise(ray: Any, **settings: Any) -> None:
    """Start or join a cluster quietly, without letting Ray change the SIGTERM handler."""
    decided = signal.getsignal(signal.SIGTERM)
    ray.init(**settings, logging_level=logging.ERROR, log_to_driver=False)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, decided)


def _tasks(listed: Sequence[tuple[bytes, str | None]], workers: int) -> list[pa.Table]:
    """Divide the files among tasks."""
    size = min(_LARGEST_TASK, 1 + len(listed) // (_TASKS_PER_WORKER * workers))
    remaining = iter(listed)
    tasks = iter(lambda: [*islice(remaining, size)], [])
    return [pa.table([*map(list, zip(*task, strict=True))], schema=_LISTED) for task in tasks]


def _classify(ray: Any, tasks: list[pa.Table], arguments: tuple[_Place, Any], table: _Place, workers: int) -> None:
    """Classify on `size` workers. Ray Data reruns the tasks of a worker that dies."""
    listed = ray.data.from_arrow(tasks)
    listed.context.enable_progress_bars = False
    listed.context.actor_task_retry_on_errors = [ReadingError]  # for example a temporary lack of memory
    rows = listed.map_batches(
        _Worker,
        fn_constructor_args=arguments,
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    try:
        rows.write_parquet(table.path, filesystem=table.files, min_rows_per_file=_ROWS_PER_FILE)
    except ray.exceptions.RayError as error:  # its message is a traceback, the last line the reason
        raise ClusterError(f"the workers failed: {str(error).splitlines()[-1]}") from error


class _Worker:
    """Runs on each of Ray's cores: a classifier, and a process that reads photos for it."""

    def __init__(self, photos: _Place, checkpoint: Any) -> None:
        """Load the checkpoint, a Ray object of `_checkpoint_files`."""
        if photos.folder and not photos.folder.is_dir():
            raise ClusterError(f"{photos.name}: expected a folder that every worker sees, found one that does not")
        self._photos = photos
        self._classifier = _loaded(_ray().get(checkpoint))
        self._reading = ReadingProcess(photos.folder, self._classifier.card.size)

    def __call__(self, listed: pa.Table) -> pa.Table:
        """Return the rows of files."""
        files = [FileToRead(file["path"], problem=file["problem"]) for file in listed.to_pylist()]
        photos = map(self._reading.read, files if self._photos.folder else self._fetched(files))
        # One by one: scoring a batch would start threads on cores that belong to other workers.
        rows = [row for photo in photos for _, row in classified(self._classifier, [photo])]
        return pa.Table.from_pylist(rows, schema())

    def _fetched(self, files: Sequence[FileToRead]) -> Iterator[FileToRead]:
        """Yield files with their content, and prefetch the next ones."""
        ahead: deque[Future[FileToRead]] = deque()
        with ThreadPoolExecutor(_AHEAD, thread_name_prefix="fetching") as pool:
            for file in files:
                ahead.append(pool.submit(self._fetch, file))
                if len(ahead) > _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _fetch(self, file: FileToRead) -> FileToRead:
        if file.problem is not None:
            return file
        try:
            with self._photos.files.open_input_stream(f"{self._photos.path}/{os.fsdecode(file.path)}") as stream:
                content = stream.read(MAX_BYTES + 1)
        except Exception as error:  # each store's client has its own errors
            return file._replace(problem=f"expected an object that can be read, found {error}")
        return file._replace(content=content, problem=_too_large(len(content)))


def _loaded(checkpoint: dict[str, bytes]) -> Classifier:
    with TemporaryDirectory() as folder:
        for name, content in checkpoint.items():
            Path(folder, name).write_bytes(content)
        return load(Path(folder, next(iter(checkpoint))))


def _counts(table: _Place) -> Counter[str]:
    """Count the written rows by status."""
    written = pyarrow.dataset.dataset(table.path, schema(), format="parquet", filesystem=table.files)
    counts: Counter[str] = Counter()
    for batch in written.to_batches(columns=["status"]):
        counts.update(batch.column(0).to_pylist())
    return counts
