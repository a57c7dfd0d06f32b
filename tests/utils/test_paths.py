import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest
from joblib import Parallel, delayed

from skpneumo._utils.paths import absolute_path, absolute_paths

PATHS = ["a.png", os.path.join("b", "c.png")]


@pytest.fixture
def folders(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    return folders


def expected(folder):
    return [os.path.join(os.path.realpath(folder), path) for path in PATHS]


def resolve_in_nested_worker(start_method):
    with ProcessPoolExecutor(1, multiprocessing.get_context(start_method)) as pool:
        return pool.submit(absolute_paths, PATHS, "X").result()


def resolve_elsewhere(folder):
    os.chdir(folder)
    return absolute_paths(PATHS, "X")


def test_relative_paths_refer_to_the_current_folder(folders, monkeypatch):
    for folder in folders:
        monkeypatch.chdir(folder)
        assert absolute_paths(PATHS, "X") == expected(folder)
    assert absolute_paths(["", *expected(folders[0])], "X") == ["", *expected(folders[0])]


@pytest.mark.skipif(os.name != "posix", reason="creates a symbolic link")
def test_parent_of_a_link_is_that_of_its_target(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two" / "inner").mkdir()
    os.symlink(tmp_path / "two" / "inner", "link")
    assert os.path.samefile(absolute_path(os.path.join("link", ".."), "weights"), "two")


def test_home_folder_is_expanded():
    assert absolute_path("~", "memory") == os.path.expanduser("~")


def test_reused_loky_workers_resolve_in_the_current_folder_of_the_main_process(folders, monkeypatch):
    for folder in (*folders, folders[0]):
        monkeypatch.chdir(folder)
        found = Parallel(2, "loky")(delayed(absolute_paths)(PATHS, "X") for _ in range(4))
        assert found == [expected(folder)] * 4


@pytest.mark.parametrize("start_method", sorted({"spawn", "forkserver"} & set(multiprocessing.get_all_start_methods())))
def test_nested_workers_resolve_in_the_current_folder_of_the_main_process(folders, monkeypatch, start_method):
    monkeypatch.chdir(folders[0])
    with ProcessPoolExecutor(1, multiprocessing.get_context(start_method)) as pool:
        assert pool.submit(absolute_paths, PATHS, "X").result() == expected(folders[0])
        monkeypatch.chdir(folders[1])
        assert pool.submit(absolute_paths, PATHS, "X").result() == expected(folders[1])
        assert pool.submit(resolve_in_nested_worker, start_method).result() == expected(folders[1])


def test_worker_that_changes_its_own_folder_raises(folders):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(absolute_paths, PATHS, "X").result()
        with pytest.raises(
            ValueError, match=r"relative path 'a.png', but the current folder of this worker process is"
        ):
            pool.submit(resolve_elsewhere, folders[0]).result()


@pytest.mark.skipif(sys.platform != "linux", reason="removes the current folder")
def test_removed_current_folder_raises(folders, monkeypatch):
    monkeypatch.chdir(folders[0])
    folders[0].rmdir()
    with pytest.raises(ValueError, match=r"the current folder does not exist anymore. Pass absolute paths"):
        absolute_path("weights.npz", "weights")
