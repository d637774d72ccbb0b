"""Training of the label-quality network: it learns, repeats itself, survives a kill, and works in several processes."""

from __future__ import annotations

import csv
import math
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from AtlasQualityLib.quality_calibration import pearson
from AtlasQualityLib.quality_embedding import text_embedding
from AtlasQualityLib.quality_losses import optimal_pairs, outline_loss, rank_loss, weighted_mse
from AtlasQualityLib.quality_manifest import QualityManifest, Slices
from AtlasQualityLib.quality_model import open_quality_model
from AtlasQualityLib.quality_network import build_network
from AtlasQualityLib.quality_outline import shrunk
from AtlasQualityLib.quality_training import TrainingOptions, slice_scores, train_network
from AtlasQualityLib.quality_training_batches import NONE, Augmentation, batches, share_of, varied_batch
from AtlasQualityLib.quality_training_curves import COLUMNS
from AtlasQualityLib.quality_training_export import export_model
from AtlasQualityLib.quality_training_ranks import open_ranks
from AtlasQualityLib.quality_training_state import Progress
from AtlasSegmentLib.errors import InputError, ModelError
from AtlasSegmentLib.train_random import generator
from quality_toys import toy_pairs

SMALL = TrainingOptions(width=2, epochs=2, batch=8, seed=5)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from threads, which wait long for each other when other tests run beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Killed(BaseException):
    """Stands for the end of the process: nothing that catches errors catches it."""


def train(folder: Path, options: TrainingOptions = SMALL, *, kill_at: int = -1, resume: bool = False, pairs: Any = None) -> Any:
    steps = [0]

    def count(_share: float, _text: str) -> None:
        steps[0] += 1
        if steps[0] == kill_at:
            raise Killed

    with open_ranks("cpu") as ranks:
        return train_network(pairs or toy_pairs(32), folder, options, ranks, resume=resume, progress=count)


def same(one: Any, other: Any) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_small_network_learns_toy_ellipses(tmp_path: Path) -> None:
    pairs = toy_pairs(128)
    options = TrainingOptions(width=8, epochs=8, batch=12, learning_rate=2e-3, augmentation=NONE)
    network, done = train(tmp_path, options, pairs=pairs)
    numbers = pairs.slices_of("train")
    assert pearson(slice_scores(network, pairs, numbers, text_embedding), pairs.columns["target"][numbers]) > 0.9
    assert done.best > 0.8


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Return the network and the progress of a training that nobody stopped, and its folder."""
    folder = tmp_path_factory.mktemp("unbroken")
    return train(folder), folder


@pytest.mark.parametrize(("kill_at", "every"), [(2, 0.0), (3, 1e9), (5, 0.0), (6, 1e9)])
def test_a_killed_training_that_goes_on_gives_the_weights_of_one_that_was_not_killed(
    tmp_path: Path, unbroken: tuple[Any, Path], kill_at: int, every: float
) -> None:
    (whole, done), folder = unbroken
    options = TrainingOptions(width=2, epochs=2, batch=8, seed=5, checkpoint_seconds=every)
    with pytest.raises(Killed):
        train(tmp_path / "killed", options, kill_at=kill_at)
    torch.manual_seed(99)  # what another process would have
    resumed, again = train(tmp_path / "killed", options, resume=True)
    assert same(whole, resumed)
    assert again.rows == done.rows
    assert (tmp_path / "killed/curves.csv").read_bytes() == (folder / "curves.csv").read_bytes()


def test_the_seed_decides_everything(tmp_path: Path, unbroken: tuple[Any, Path]) -> None:
    other, _ = train(tmp_path, TrainingOptions(width=2, epochs=2, batch=8, seed=6))
    assert not same(unbroken[0][0], other)
    assert torch.are_deterministic_algorithms_enabled() is False  # as it was before


def test_curves_have_a_row_for_each_epoch_and_a_picture(unbroken: tuple[Any, Path]) -> None:
    (_, done), folder = unbroken
    rows = list(csv.DictReader((folder / "curves.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["learning_rate"]) == pytest.approx(5e-4)
    assert all(math.isfinite(value) for row in done.rows for value in row.values())
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_training_that_was_started_is_not_overwritten(tmp_path: Path) -> None:
    train(tmp_path, TrainingOptions(width=2, epochs=1, batch=24))
    with pytest.raises(InputError, match="has been started here"):
        train(tmp_path, TrainingOptions(width=2, epochs=1, batch=24))
    with pytest.raises(InputError, match=r"had width 2, this one has 3"):
        train(tmp_path, TrainingOptions(width=3, epochs=1, batch=24), resume=True)
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no checkpoint"):
        train(tmp_path, TrainingOptions(width=2, epochs=1, batch=24), resume=True)


def test_the_best_epoch_is_also_known_where_no_correlation_is_above_zero() -> None:
    done = Progress()
    for score, tag in ((math.nan, 0.0), (-0.5, 1.0), (-0.7, 2.0), (math.nan, 3.0), (-0.1, 4.0)):
        done.take(score, {"w": torch.tensor(tag)})
        done.epoch += 1
    assert (done.best, done.best_epoch, float(done.best_weights["w"])) == (-0.1, 4, 4.0)
    only = Progress()
    only.take(math.nan, {"w": torch.tensor(7.0)})
    assert (only.best_epoch, float(only.best_weights["w"])) == (0, 7.0)


def test_nothing_to_learn_from_or_to_validate_with_is_refused(tmp_path: Path) -> None:
    pairs = toy_pairs(8)
    without = type(pairs)(pairs.masks[:6], {name: values[:6] for name, values in pairs.columns.items()}, (pairs.blocks[0][:6],), 64)
    with pytest.raises(InputError, match="6 slices to train with and 0"):
        train(tmp_path, pairs=without)
    with pytest.raises(InputError, match="cannot be trained"):
        TrainingOptions(epochs=0)


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    pairs = toy_pairs(16)
    pairs.columns["target"][:] = np.nan
    with pytest.raises(ModelError, match="no longer a number"):
        train(tmp_path, pairs=pairs)


def test_every_example_is_seen_once_in_an_epoch_and_no_batch_is_one_alone() -> None:
    numbers = np.arange(100, 133)
    for epoch in range(3):
        found = batches(numbers, 8, 0, epoch)
        assert sorted(np.concatenate(found).tolist()) == numbers.tolist()
        assert [len(batch) for batch in found] == [8, 8, 8, 9]
    assert not np.array_equal(batches(numbers, 8, 0, 0)[0], batches(numbers, 8, 0, 1)[0])
    assert [len(batch) for batch in batches(numbers[:1], 8, 0, 0)] == [1]


def test_processes_share_a_batch_evenly() -> None:
    shares = [share_of(np.arange(7), rank, 3) for rank in range(3)]
    assert {len(share) for share in shares} == {3}
    assert set(np.concatenate(shares).tolist()) == set(range(7))
    assert [len(share_of(np.arange(1), rank, 2)) for rank in range(2)] == [1, 1]


def test_variation_keeps_the_range_and_no_variation_changes_nothing() -> None:
    pairs = toy_pairs(12)
    numbers = np.arange(12)
    plain = varied_batch(pairs, numbers, text_embedding, NONE, np.random.default_rng(0))
    varied = varied_batch(pairs, numbers, text_embedding, Augmentation(), np.random.default_rng(0))
    again = varied_batch(pairs, numbers, text_embedding, Augmentation(), np.random.default_rng(0))
    assert torch.equal(varied.images, again.images)
    assert not torch.equal(varied.images, plain.images)
    assert varied.images[:, 0].abs().max() <= 2
    assert varied.images[:, 1].abs().max() <= 1
    assert plain.images.shape == (12, 2, 64, 64)


def test_a_mirrored_organ_is_called_by_its_partners_name_and_others_are_not_mirrored() -> None:
    pairs = toy_pairs(40)
    sided = tuple(type(mask)(**{**vars(mask), "organ": "kidney_left" if n % 2 else "liver"}) for n, mask in enumerate(pairs.masks))
    pairs = type(pairs)(sided, pairs.columns, pairs.blocks, pairs.size)
    only_flips = replace(NONE, flips=True)
    plain = varied_batch(pairs, np.arange(40), text_embedding, NONE, np.random.default_rng(0))
    found = varied_batch(pairs, np.arange(40), text_embedding, only_flips, np.random.default_rng(0))
    mirrored = [n for n in range(40) if np.array_equal(found.embeddings[n], text_embedding("kidney_right"))]
    assert 5 < len(mirrored) < 16
    for n in range(40):
        expected = plain.images[n].flip(-1) if n in mirrored else plain.images[n]
        assert torch.allclose(found.images[n], expected, atol=1e-4)


def test_a_batch_of_one_can_be_trained_on(tmp_path: Path) -> None:
    network, _ = train(tmp_path, TrainingOptions(width=2, epochs=1, batch=1), pairs=toy_pairs(8))
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())


@pytest.mark.parametrize("outline", [False, True])
def test_an_exported_model_gives_the_same_scores_on_both_engines(tmp_path: Path, outline: bool) -> None:
    torch.manual_seed(0)
    network = build_network("resnet18", 4, outline=outline).eval()
    manifest = QualityManifest(name="toy", backbone="resnet18", width=4, outline=outline, slices=Slices(size=64))
    assert export_model(network, tmp_path / "toy", manifest) < 1e-4
    images = np.random.default_rng(0).uniform(-1, 1, (5, 2, 64, 64)).astype(np.float32)
    embeddings = np.stack([text_embedding("liver")] * 5)
    scores = [open_quality_model(tmp_path / "toy", engine=engine).scorer.run(images, embeddings) for engine in ("onnx", "torch")]
    with torch.inference_mode():
        expected = network(torch.from_numpy(images), torch.from_numpy(embeddings)).numpy()
    assert np.abs(scores[0] - expected).max() < 1e-4
    assert np.abs(scores[1] - expected).max() < 1e-5
    export_model(build_network("resnet18", 4, outline=outline).eval(), tmp_path / "other", manifest)
    shutil.copyfile(tmp_path / "other" / "model.onnx", tmp_path / "toy" / "model.onnx")
    with pytest.raises(ModelError, match=r"model\.onnx: is not the file that quality\.json"):
        open_quality_model(tmp_path / "toy")


def test_two_processes_take_the_step_of_their_mean_gradient(tmp_path: Path) -> None:
    """One step of two processes is one step of the mean of both halves' gradients, and both end with the same weights."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = Path(__file__).resolve().parents[3] / "Testing/quality_ranks_step.py"
    common = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-W", "ignore", str(program), str(tmp_path)]
    started = [subprocess.Popen(command, env={**common, "RANK": str(rank), "LOCAL_RANK": "0"}) for rank in range(2)]
    expected = _mean_step()
    try:
        assert [process.wait(timeout=120) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    found = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    for name, tensor in expected.named_parameters():
        assert torch.equal(found[0][name], found[1][name])
        # The bias before a normalization has no gradient but rounding, of which Adam makes a whole step either way.
        assert name == "conv1.bias" or torch.allclose(found[0][name], tensor, atol=2e-6), name


def _mean_step() -> torch.nn.Module:
    """Return the network after one step by hand."""
    pairs, options = toy_pairs(16), TrainingOptions(width=2, epochs=1, batch=12, seed=3)
    torch.manual_seed(options.seed)
    network = build_network("resnet18", 2, outline=True).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    (numbers,) = batches(pairs.slices_of("train"), 12, options.seed, 0)
    total = torch.zeros(())
    for rank in range(2):
        rng = generator(options.seed, "variation", 0, 0, rank)
        batch = varied_batch(pairs, share_of(numbers, rank, 2), text_embedding, options.augmentation, rng)
        predicted, logits = network(batch.images, torch.from_numpy(batch.embeddings), True)
        target = torch.from_numpy(batch.targets)
        losses = weighted_mse(predicted, target), rank_loss(predicted, target, optimal_pairs(batch.embeddings))
        total = total + (sum(losses) + outline_loss(logits, shrunk(batch.truth))) / 2
    total.backward()
    optimizer.step()
    return network
