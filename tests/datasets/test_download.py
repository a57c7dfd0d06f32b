"""Downloads from a server that misbehaves."""

import hashlib
import re

import pytest
import requests

from datasets.http_server import Reply
from skpneumo._utils import progress
from skpneumo.datasets import _download
from skpneumo.datasets._download import RemoteFile, download

BODY = bytes(range(256)) * 400  # 102,400 bytes
CUT = 40_000


def get(server, folder, body=BODY, n_retries=1):
    remote = RemoteFile(f"{server.url}?download=1", "file.bin", f"sha256:{hashlib.sha256(body).hexdigest()}")
    return download(remote, folder, n_retries, delay=0)


def retried():
    return pytest.warns(UserWarning, match="The download of file.bin failed and is tried again")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(_download, "_CHUNK", 1000)


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    assert {path.name for path in tmp_path.iterdir()} <= {"file.bin", "file.bin.part", "file.bin.part.version"}


def is_complete(folder, body=BODY):
    return [path.name for path in folder.iterdir()] == ["file.bin"] and (folder / "file.bin").read_bytes() == body


def test_file_is_downloaded_in_one_request(server, folder):
    server.replies = [Reply(BODY)]
    assert get(server, folder) == folder / "file.bin"
    assert is_complete(folder)
    assert server.sent == [(0, len(BODY))]
    assert server.paths == ["/file?download=1"]


def test_retry_continues_where_the_connection_broke(server, folder):
    server.replies = [Reply(BODY, cut=CUT), Reply(BODY)]
    with retried() as warned:
        get(server, folder)
    assert {warning.filename for warning in warned} == {__file__}
    assert is_complete(folder)
    assert server.sent == [(0, CUT), (CUT, len(BODY) - CUT)]


def test_later_call_continues_where_the_connection_broke(server, folder):
    server.replies = [Reply(BODY, cut=CUT), Reply(BODY)]
    with pytest.raises(OSError, match=r"IncompleteRead|received"):
        get(server, folder, n_retries=0)
    assert not (folder / "file.bin").exists()
    get(server, folder)
    assert is_complete(folder)
    assert server.sent == [(0, CUT), (CUT, len(BODY) - CUT)]


def test_less_than_one_chunk_is_transferred_again(server, folder):
    server.replies = [Reply(BODY, cut=CUT + 123), Reply(BODY)]
    with retried():
        get(server, folder)
    assert is_complete(folder)
    assert sum(count for _, count in server.sent) - len(BODY) < 1000


def test_download_continues_after_several_interruptions(server, folder):
    server.replies = [Reply(BODY, cut=cut) for cut in (10_000, 20_000, 30_000)] + [Reply(BODY)]
    with retried():
        get(server, folder, n_retries=3)
    assert is_complete(folder)
    assert [start for start, _ in server.sent] == [0, 10_000, 20_000, 30_000]


def test_download_continues_after_a_timeout(server, folder, monkeypatch):
    monkeypatch.setattr(_download, "_TIMEOUT", 0.2)
    server.replies = [Reply(BODY, stall=CUT), Reply(BODY)]
    with retried():
        get(server, folder)
    assert is_complete(folder)
    assert server.sent == [(0, CUT), (CUT, len(BODY) - CUT)]


def test_small_blocks_are_assembled(server, folder):
    server.replies = [Reply(BODY, block=77)]
    get(server, folder)
    assert is_complete(folder)


def test_wrong_content_raises_with_both_digests_and_is_removed(server, folder):
    wrong = BODY[::-1]
    server.replies = [Reply(wrong)]
    with pytest.raises(OSError, match=hashlib.sha256(BODY).hexdigest()) as error:
        get(server, folder)
    assert hashlib.sha256(wrong).hexdigest() in str(error.value)
    assert not list(folder.iterdir())
    server.replies = [Reply(BODY)]
    get(server, folder)
    assert is_complete(folder)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_permanent_error_is_not_retried(server, folder, status):
    server.replies = [Reply(BODY, status=status)]
    with pytest.raises(OSError, match=str(status)):
        get(server, folder)
    assert len(server.paths) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_temporary_error_is_retried(server, folder, status):
    server.replies = [Reply(BODY, status=status), Reply(BODY)]
    with retried():
        get(server, folder)
    assert is_complete(folder)


def test_last_error_is_raised_after_all_retries(server, folder):
    server.replies = [Reply(BODY, status=503)]
    with retried(), pytest.raises(requests.HTTPError, match="503"):
        get(server, folder, n_retries=2)
    assert len(server.paths) == 3


def test_download_starts_again_without_range_support(server, folder):
    server.replies = [Reply(BODY, cut=CUT, ranges=False), Reply(BODY, ranges=False)]
    with retried():
        get(server, folder)
    assert is_complete(folder)
    assert server.sent == [(0, CUT), (0, len(BODY))]


@pytest.mark.parametrize("etag", ["", 'W/"1"'])
def test_download_starts_again_if_the_version_is_unknown(server, folder, etag):
    server.replies = [Reply(BODY, cut=CUT, etag=etag), Reply(BODY, etag=etag)]
    with retried():
        get(server, folder)
    assert is_complete(folder)
    assert server.ranges == [None, None]


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_changed_file_is_downloaded_from_the_start(server, folder, ignores_if_range):
    old = Reply(b"x" * len(BODY), cut=CUT)
    server.replies = [old, Reply(BODY, etag='"2"', ignores_if_range=ignores_if_range)]
    with retried():
        get(server, folder, n_retries=2)
    assert is_complete(folder)
    assert server.sent[-1] == (0, len(BODY))


def test_part_longer_than_the_file_is_discarded(server, folder):
    server.replies = [Reply(BODY * 2, cut=len(BODY) + 1000), Reply(BODY)]
    with retried():
        get(server, folder, n_retries=2)
    assert is_complete(folder)


def test_redirects_are_followed_and_continued(server, folder):
    redirect = Reply(BODY, location="/elsewhere")
    server.replies = [redirect, Reply(BODY, cut=CUT), redirect, Reply(BODY)]
    with retried():
        get(server, folder)
    assert is_complete(folder)
    assert server.paths == ["/file?download=1", "/elsewhere"] * 2
    assert server.sent == [(0, CUT), (CUT, len(BODY) - CUT)]


def test_progress_bar_shows_the_size_of_the_file(server, folder, capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0)
    server.replies = [Reply(BODY)]
    get(server, folder)
    assert re.search(r"file\.bin: .*/102k .*B/s", capsys.readouterr().err)


def test_failure_to_connect_is_an_oserror(server, folder):
    remote = RemoteFile("http://127.0.0.1:9/file", "file.bin", "sha256:0")
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        download(remote, folder, 0, delay=0)
