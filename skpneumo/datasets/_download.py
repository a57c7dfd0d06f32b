"""Download a file over HTTP: resumed after interruptions, checked, and put in place in one step."""

import functools
import hashlib
import os
import re
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skpneumo._utils.messages import shortened, stacklevel_of_user
from skpneumo._utils.progress import progress_bar

if TYPE_CHECKING:
    import requests

_CHUNK = 2**15  # bytes; at most one chunk is transferred again after an interruption
_TIMEOUT = 30.0  # seconds without a byte
_BUSY = frozenset({408, 429})  # temporary failures among the client errors


@dataclass(frozen=True)
class RemoteFile:
    """File on a server.

    Parameters
    ----------
    url : str
        Its address.
    name : str
        Its name on disk.
    checksum : str
        Algorithm and digest as pooch expects them: "sha256:..." or "md5:...".
    """

    url: str
    name: str
    checksum: str


def download(remote: RemoteFile, folder: Path, n_retries: int, delay: float) -> Path:
    """Download a file to a folder, where it appears only when its checksum is right.

    The received bytes are kept in ``NAME.part``, and the version of the remote file (its ETag or time of change) in
    ``NAME.part.version``, so that a retry or a later call continues the download. If the version has changed, or if the
    server sent none, the download starts again.

    Parameters
    ----------
    remote : RemoteFile
        The file.
    folder : Path
        Its folder on disk.
    n_retries : int
        Number of retries after connection failures and temporary errors of the server.
    delay : float
        Seconds between retries.

    Raises
    ------
    OSError
        If the file cannot be downloaded, or has another checksum.
    ImportError
        If pooch is not installed.
    """
    import pooch
    import requests

    receive = functools.partial(_receive_to, folder / f"{remote.name}.part")
    while True:
        try:
            return Path(pooch.retrieve(remote.url, remote.checksum, remote.name, folder, downloader=receive))
        except requests.RequestException as error:
            if n_retries == 0 or not _is_temporary(error):
                raise
            message = f"The download of {remote.name} failed and is tried again: {brief(error)}"
            warnings.warn(message, stacklevel=stacklevel_of_user())
        except ValueError as error:  # raised by pooch for a wrong checksum
            raise OSError(str(error)) from error
        n_retries -= 1
        time.sleep(delay)


def _receive_to(part: Path, url: str, output_file: Any, pooch: Any) -> None:
    """Receive the missing bytes of a file, and move it to the path that pooch checks."""
    _receive(url, part)
    os.replace(part, output_file)
    _version_file(part).unlink(missing_ok=True)


def _receive(url: str, part: Path) -> None:
    import requests

    size = part.stat().st_size if part.exists() else 0
    version = _version_file(part).read_text(encoding="utf-8") if size and _version_file(part).exists() else ""
    # The bytes are counted and resumed, so they must be those of the file, not of a compressed stream.
    headers = {"Accept-Encoding": "identity"}
    if version:
        headers |= {"Range": f"bytes={size}-", "If-Range": version}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        resumed = response.status_code == requests.codes.partial_content
        refused = response.status_code == requests.codes.range_not_satisfiable
        if refused or (resumed and not _continues(response, size, version)):
            part.unlink(missing_ok=True)
            raise requests.ConnectionError("the server sent another part of the file than the missing one")
        response.raise_for_status()
        start = size if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        with part.open("ab" if resumed else "wb") as file, progress_bar(total, part.stem, "B", 1) as bar:
            if not resumed:
                _version_file(part).write_text(_version(response), encoding="utf-8")
            bar.n = bar.initial = start
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            received = file.tell()
    if total is not None and received != total:
        raise requests.ConnectionError(f"received {received} of {total} bytes")


def brief(error: BaseException) -> str:
    """Return the cause of a failed download, without the nested descriptions of connections by urllib3."""
    while (inner := getattr(error, "reason", None) or next(iter(error.args), None)) and isinstance(inner, Exception):
        error = inner
    return shortened(re.sub(r"^\S*HTTPS?Connection.*?: ", "", str(error)))


def file_digest(path: Path, algorithm: str) -> str:
    """Return the digest of a file in hexadecimal."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _is_temporary(error: "requests.RequestException") -> bool:
    status = 500 if error.response is None else error.response.status_code
    return status >= 500 or status in _BUSY


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _version(response: "requests.Response") -> str:
    """Return a strong ETag, or the time of the last change, or an empty text."""
    etag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if etag.startswith("W/") else etag


def _continues(response: "requests.Response", size: int, version: str) -> bool:
    """Check that a partial response starts where the received bytes end, and is of the same version."""
    starts = response.headers.get("Content-Range", "").startswith(f"bytes {size}-")
    return starts and _version(response) in ("", version)
