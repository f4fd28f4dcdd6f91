"""`scarlens serve` as a program: where it listens, how it ends, and its messages when it cannot start."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra 'serve'")

Ask = Callable[[int, bytes], dict[str, Any]]

EXAMPLE = Path(__file__).parents[1] / "datasets" / "rendering" / "examples" / "rolling.jpg"


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "scarlens", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            line = server.stderr.readline()
            found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
            assert found and "not a diagnosis" in line, line + server.stderr.read()
            yield server, int(found[1])
        finally:
            server.kill()


def test_serves_answers_until_it_is_stopped(ask: Ask) -> None:
    with serving() as (server, port):
        answer = ask(port, EXAMPLE.read_bytes())
        assert answer["label"] == "rolling" and answer["row"]["path"] == "cheek.jpg"
        server.send_signal(signal.SIGINT)
        out, rest = server.communicate()
        assert server.returncode == 0
        assert (out, rest) == ("", "")  # no name of a photo, no traceback


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_can_be_stopped_while_an_upload_is_half_sent(stop: signal.Signals, ask: Ask) -> None:
    with serving() as (server, port), socket.create_connection(("127.0.0.1", port)) as upload:
        ask(port, EXAMPLE.read_bytes())  # a process that reads has started
        head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\nContent-Type: multipart/form-data"
        upload.sendall(f"{head}; boundary=x\r\n\r\n--x".encode())
        server.send_signal(stop)
        server.communicate(timeout=60)
        assert server.returncode == (0 if stop == signal.SIGINT else -stop)


def test_says_so_when_other_machines_can_use_it() -> None:
    command = [sys.executable, "-m", "scarlens", "serve", "--port", "0", "--host", "0.0.0.0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        line = server.stderr.readline()
        server.kill()
    assert "http://0.0.0.0:" in line and "no password" in line


def test_listens_to_this_machine_only() -> None:
    with serving() as (_, port):
        socket.create_connection(("127.0.0.1", port)).close()
        for address in {"127.0.0.2", socket.gethostbyname(socket.gethostname())} - {"127.0.0.1"}:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, port))


def test_port_in_use_is_an_error_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        command = [sys.executable, "-m", "scarlens", "serve", "--port", str(port)]
        result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert f":{port} cannot be used" in result.stderr and "--port" in result.stderr


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn", "python_multipart"])
def test_missing_extra_is_an_error_in_one_line(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from scarlens.cli import main; main('serve')"
    result = subprocess.run([sys.executable, "-c", program, "--port", "0"], capture_output=True, text=True)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert 'pip install ".[serve]" in the checkout' in result.stderr
