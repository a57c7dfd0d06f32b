import os
import socket
import sqlite3
import stat
import subprocess
import sys
import textwrap

import pytest

from skpneumo._feature_store import leases
from skpneumo._feature_store.leases import Leases

KEYS = [bytes([i]) * 40 for i in range(50)]


def test_leased_keys_are_not_granted_until_released(tmp_path):
    one, other = Leases(tmp_path), Leases(tmp_path)
    assert one.take(KEYS[:3]) == KEYS[:3]
    assert other.take(KEYS[:5]) == KEYS[3:5]
    other.release(KEYS[:1])  # not its own
    one.release(KEYS[1:2])
    assert other.take(KEYS[:5]) == [KEYS[1], *KEYS[3:5]]
    one.release_all()
    assert other.take(KEYS[:5]) == KEYS[:5]


def test_each_key_is_leased_to_one_process_only(tmp_path):
    code = """
    import os, sys
    from skpneumo._feature_store.leases import Leases
    leases = Leases(sys.argv[1])
    keys = [bytes([i]) * 40 for i in range(50)]
    mine = [key[0] for i in range(0, 50, 5) for key in leases.take(keys[i : i + 5])]
    print(*mine, flush=True)
    sys.stdin.read()  # runs until all processes have taken their leases
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    taken = [int(key) for process in processes for key in process.stdout.readline().split()]
    for process in processes:
        process.communicate()
    assert sorted(taken) == list(range(50))


@pytest.mark.skipif(os.name != "posix", reason="checks whether a process runs by its id")
def test_leases_of_an_ended_process_expire_at_once(tmp_path):
    code = "import sys; from skpneumo._feature_store.leases import Leases; Leases(sys.argv[1]).take([b'a'])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert Leases(tmp_path).take([b"a"]) == [b"a"]


def rows_of(leases):
    db = sqlite3.connect(leases.file)
    try:
        return db.execute("SELECT count(*) FROM leases").fetchone()[0]
    finally:
        db.close()


def test_leases_end_with_their_extraction_even_if_the_file_cannot_be_written(tmp_path, full_disk):
    one = Leases(tmp_path)
    one.take(KEYS)
    with full_disk():
        one.release(KEYS[:1])
        one.release_all()
    assert rows_of(one) == len(KEYS)
    assert Leases(tmp_path).take(KEYS) == KEYS


def test_leases_end_with_their_object(tmp_path):
    Leases(tmp_path).take(KEYS)
    assert Leases(tmp_path).take(KEYS) == KEYS


def test_release_needs_no_place_on_the_disk(tmp_path, full_disk):
    one = Leases(tmp_path)
    one.take(KEYS)
    with full_disk(one.file.stat().st_size):
        one.release_all()
    assert rows_of(one) == 0


def test_release_all_releases_leases_of_an_interrupted_take(tmp_path, monkeypatch):
    one, run = Leases(tmp_path), Leases._run

    def interrupted(self, work):
        run(self, work)
        raise KeyboardInterrupt

    monkeypatch.setattr(Leases, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.take(KEYS)
    monkeypatch.undo()
    assert rows_of(one) == len(KEYS)
    one.release_all()
    assert rows_of(one) == 0


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads when a process started")
@pytest.mark.parametrize("find_process", [os.getpid, os.getppid])
def test_leases_of_an_ended_process_expire_if_its_id_is_reused(tmp_path, find_process):
    process = find_process()
    ended, running, other = Leases(tmp_path), Leases(tmp_path), Leases(tmp_path)
    ended.owner = f"{socket.gethostname()} {process} 1 0"
    running.owner = f"{socket.gethostname()} {process} {leases._start_time(process)} 0"
    ended.take([b"a"])
    running.take([b"b"])
    del leases._ACTIVE[ended.owner]
    assert other.take([b"a", b"b"]) == [b"a"]


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="waits until a process has ended without reaping it")
def test_leases_of_an_ended_process_expire_before_its_parent_has_noticed(tmp_path):
    code = "import os, sys; from skpneumo._feature_store.leases import Leases; Leases(sys.argv[1]).take([b'a'])"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Leases(tmp_path).take([b"a"]) == [b"a"]


@pytest.mark.parametrize("owner", ["", "host 1", "host 1 0", "host x 1 0", f"host {10**30} 1 0", b"\xff", 5])
def test_leases_of_a_damaged_owner_are_granted(tmp_path, owner):
    one = Leases(tmp_path)
    one.take([b"a"])
    db = sqlite3.connect(one.file)
    with db:
        db.execute("UPDATE leases SET owner = ?", [owner])
    db.close()
    assert Leases(tmp_path).take([b"a"]) == [b"a"]


def test_leases_of_another_machine_expire_without_heartbeat(tmp_path, monkeypatch):
    far, near = Leases(tmp_path), Leases(tmp_path)
    far.owner = "another-machine 1 - 0"
    far.take([b"a"])
    assert near.take([b"a"]) == []
    monkeypatch.setattr(leases, "_TIMEOUT", 0.0)
    far.take([b"b"])  # a heartbeat
    assert near.take([b"a"]) == []
    assert near.take([b"a"]) == [b"a"]


def test_all_leases_are_granted_if_file_cannot_be_created(tmp_path):
    (tmp_path / "file").touch()
    for each in (Leases(tmp_path / "file"), Leases(tmp_path / "file" / "folder")):
        assert each.take(KEYS) == KEYS
        each.release(KEYS)
        each.release_all()


def test_all_leases_are_granted_if_file_is_not_a_database(tmp_path):
    leases = Leases(tmp_path)
    leases.file.write_bytes(b"no database at all" * 100)
    assert leases.take(KEYS) == KEYS


def test_file_is_accessible_to_owner_only(tmp_path):
    leases = Leases(tmp_path)
    leases.take(KEYS)
    assert stat.S_IMODE(leases.file.stat().st_mode) == 0o600
