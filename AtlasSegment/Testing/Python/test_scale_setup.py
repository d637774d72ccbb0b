"""What every worker process is set up with: models loaded once, threads, a GPU of its own."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from AtlasSegmentLib import cpu_threads, gpu_resources, model_cache
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_cache import LEAST, ModelCache, cached_model, files_of


class Loader:
    """A cache that counts what is loaded into it; slow enough for a second thread to come in between."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.cache = ModelCache()
        self.loaded: list[str] = []
        self.seconds = seconds

    def get(self, folder: Path, room: int = LEAST) -> object:
        """Return something for the model of a folder."""
        return self.cache.get(folder, files_of(folder), lambda: self._load(folder), room)

    def _load(self, folder: Path) -> object:
        self.loaded.append(folder.name)
        time.sleep(self.seconds)
        return object()


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Return the folders of six models, with weights one level below."""
    made = [tmp_path / f"model{number}" for number in range(6)]
    for folder in made:
        (folder / "fold_0").mkdir(parents=True)
        (folder / "plans.json").write_text("{}", encoding="utf-8")
        (folder / "fold_0/weights").write_bytes(b"1")
    return made


def test_threads_that_ask_for_one_model_at_the_same_time_get_one_model(folders: list[Path]) -> None:
    loader = Loader(0.05)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(loader.get(folders[0]))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loader.loaded) == 1
    assert len({id(model) for model in found}) == 1


def test_models_used_in_turn_are_not_loaded_again_and_again(folders: list[Path]) -> None:
    loader = Loader()
    for folder in 3 * folders:
        loader.get(folder, room=len(folders))
    assert len(loader.loaded) == len(folders)


def test_the_model_that_was_not_used_for_the_longest_time_goes_first(folders: list[Path]) -> None:
    loader = Loader()
    for number in (*range(LEAST), 0, LEAST, 0, 1):
        loader.get(folders[number])
    assert loader.loaded == [f"model{number}" for number in (*range(LEAST), LEAST, 1)]


@pytest.mark.parametrize("name", ["plans.json", "fold_0/weights"])
def test_a_model_whose_files_changed_is_loaded_again_and_the_old_one_let_go(folders: list[Path], name: str) -> None:
    loader = Loader()
    loader.get(folders[0])
    (folders[0] / name).write_bytes(b"other")
    loader.get(folders[0])
    assert len(loader.loaded) == 2
    assert len(loader.cache._models) == 1


def test_folders_far_below_do_not_count_as_the_model(folders: list[Path]) -> None:
    before = files_of(folders[0])
    (folders[0] / "fold_0/validation").mkdir()
    (folders[0] / "fold_0/validation/case.nii.gz").write_bytes(b"many of them")
    assert files_of(folders[0]) == before


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the settings of this process back afterwards."""
    monkeypatch.setattr(cpu_threads, "_chosen", 0)
    for name in (*cpu_threads._VARIABLES, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")  # remembered, and put back at the end
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("process")
def test_threads_of_a_process_reach_models_and_libraries_and_an_explicit_number_wins(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[Path, int, str]] = []
    monkeypatch.setattr(model_cache, "load_model", lambda *arguments: loaded.append(arguments))
    assert cpu_threads.default_threads() == 0
    cpu_threads.set_threads(3)
    cpu_threads.set_threads(0)
    assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "3"
    cached_model(folders[0], 0, "cpu")
    cached_model(folders[0], 2, "cpu")
    assert loaded == [(folders[0], 3, "cpu"), (folders[0], 2, "cpu")]


def test_a_model_that_cannot_be_loaded_is_tried_again(folders: list[Path]) -> None:
    cache = ModelCache()

    def fail() -> object:
        message = "damaged"
        raise ModelError(message)

    for _ in range(2):
        with pytest.raises(ModelError):
            cache.get(folders[0], (), fail)
    assert cache.get(folders[0], (), lambda: 7) == 7


@pytest.mark.usefixtures("process")
def test_torch_that_is_loaded_already_is_told_its_threads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=told.append))
    for _ in range(3):
        cpu_threads.set_threads(5)
    assert told == [5]


def test_threads_are_shared_between_jobs_by_what_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_threads, "cpu_count", lambda: 8)
    assert [cpu_threads.threads_for(jobs) for jobs in (0, 1, 3, 8, 10_000)] == [8, 8, 2, 1, 1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_a_job_that_was_given_one_core_counts_one() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cpu_threads.cpu_count() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_gpus_are_those_that_were_given_to_the_process(tmp_path: Path) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    found = [gpu_resources.visible_gpus({"CUDA_VISIBLE_DEVICES": text}, tmp_path) for text in ("3,5", "GPU-a1", "", "-1", "2,-1,3")]
    assert found == [["3", "5"], ["GPU-a1"], [], [], ["2"]]
    assert gpu_resources.visible_gpus({}, tmp_path) == ["0", "1"]
    assert gpu_resources.visible_gpus({}, tmp_path / "no driver") == []


def test_workers_take_gpus_in_turn_and_one_gpu_needs_no_choice() -> None:
    assert [gpu_resources.gpu_of(worker, ["3", "5"]) for worker in range(4)] == ["3", "5", "3", "5"]
    assert gpu_resources.gpu_of(0, ["3"]) is gpu_resources.gpu_of(0, []) is None


def test_a_share_of_a_gpu_is_asked_for_when_a_worker_offers_one() -> None:
    assert gpu_resources.demand([{}, {"GPU": 1.0}]) == {"GPU": gpu_resources.SHARE}
    assert gpu_resources.demand([{}, {"MEMORY": 100}, {"GPU": 0}]) is None
    assert gpu_resources.demand([]) is None
    assert 1 / gpu_resources.SHARE >= 3  # a case in each stage fits on one GPU
