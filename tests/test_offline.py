"""Nothing calls home: no command looks up a name, contacts another machine, or writes into the home folder."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scarlens.datasets.offline import SWITCHES, stay_offline, switched_on

EXAMPLE = Path(__file__).parents[1] / "datasets" / "rendering" / "examples" / "boxcar.jpg"

RECORDER = """
import os, sys
def record(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        where = arguments[0]
    elif event in ("socket.connect", "socket.bind", "socket.sendto"):
        where = arguments[1][0] if isinstance(arguments[1], tuple) else None  # a Unix socket has no host
    else:
        return
    if where not in (None, "127.0.0.1", "::1", "localhost", b"127.0.0.1"):
        with open(os.environ["CONTACTS"], "a") as file:
            file.write(f"{event} {where}\\n")
sys.addaudithook(record)
"""

FONT_LISTS = (".cache/matplotlib", ".config/matplotlib")
"""Folders where matplotlib, which draws training's plots, keeps its list of fonts."""

QUICK = ("trunk=squeezenet1_1", "weights=null", "size=64", "epochs=1", "workers=0", "views=1", "per_type=2")


class Watched:
    """Run commands with an empty home folder, and record whom they contact."""

    def __init__(self, folder: Path) -> None:
        self.home, self.contacts, self.calls = folder / "home", folder / "contacts", folder / "calls"
        self.home.mkdir()
        recorder = folder / "recorder"
        recorder.mkdir()
        (recorder / "sitecustomize.py").write_text(RECORDER)
        paths = os.pathsep.join(filter(None, [str(recorder), os.environ.get("PYTHONPATH", "")]))
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("XDG_") and name not in SWITCHES
        }
        self.environment = {**kept, "HOME": str(self.home), "CONTACTS": str(self.contacts), "PYTHONPATH": paths}

    def command(self, *arguments: object) -> list[str]:
        options = ("-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto,sendmsg", "-A", "-o", self.calls)
        tracing = ("strace", *options) if shutil.which("strace") else ()
        return [*map(str, (*tracing, sys.executable, "-m", "scarlens", *arguments))]

    def run(self, *arguments: object) -> None:
        result = subprocess.run(self.command(*arguments), capture_output=True, text=True, env=self.environment)
        assert result.returncode == 0, result.stderr

    def check(self, allowed: tuple[str, ...] = ()) -> None:
        assert not self.contacts.exists(), self.contacts.read_text()
        calls = self.calls.read_text() if self.calls.exists() else ""
        addresses = re.findall(r'(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"', calls)
        assert set(addresses) <= {"127.0.0.1", "::1"}
        left = [file.relative_to(self.home).as_posix() for file in self.home.rglob("*") if file.is_file()]
        assert [name for name in left if not name.startswith(allowed)] == []


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_predict_and_batch_contact_nobody(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "photos")
    watched.run("predict", EXAMPLE)
    watched.run("batch", tmp_path / "photos", "-o", tmp_path / "table.csv")
    watched.check()


def test_training_contacts_nobody(watched: Watched, rendered_folder: Path, tmp_path: Path) -> None:
    settings = [part for setting in (*QUICK, "validation_fraction=0") for part in ("--set", setting)]
    data = ["--data", rendered_folder / "manifest.csv", "--out-of-scope", "out_of_scope"]
    watched.run("train", *data, "--out", tmp_path / "run", *settings)
    watched.check(FONT_LISTS)


def test_the_page_contacts_nobody(watched: Watched, ask: Callable[[int, bytes], dict[str, Any]]) -> None:
    pytest.importorskip("fastapi", reason="needs the extra 'serve'")
    command = watched.command("serve", "--port", "0")
    how = {"stderr": subprocess.PIPE, "text": True, "env": watched.environment, "start_new_session": True}
    with subprocess.Popen(command, **how) as server:
        assert server.stderr
        line = server.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, line
        assert ask(int(found[1]), EXAMPLE.read_bytes())["label"]
        os.killpg(server.pid, signal.SIGINT)
        server.communicate()
    watched.check()


def test_a_value_that_the_user_set_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)
    stay_offline()
    assert dict(SWITCHES).items() <= os.environ.items() and switched_on() == []
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    stay_offline()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0" and switched_on() == ["ORT_DISABLE_TELEMETRY"]


def test_the_doctor_says_whether_something_calls_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    result = subprocess.run([sys.executable, "-m", "scarlens", "doctor", "--json"], capture_output=True, text=True)
    telemetry = json.loads(result.stdout)["telemetry"]
    assert telemetry["off"] is False and "RAY_USAGE_STATS_ENABLED" in telemetry["found"]
