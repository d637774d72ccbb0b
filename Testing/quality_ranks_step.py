"""One of several processes that take one step of training on toy examples and leave their weights: python quality_ranks_step.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from AtlasQualityLib.quality_training import TrainingOptions, train_network
from AtlasQualityLib.quality_training_ranks import open_ranks
from quality_toys import toy_pairs


def main(folder: Path) -> None:
    """Train and write rank<N>.pt."""
    torch.set_num_threads(1)
    with open_ranks("cpu") as ranks:
        options = TrainingOptions(width=2, epochs=1, batch=12, seed=3)
        network, _ = train_network(toy_pairs(16), folder / "training", options, ranks)
        torch.save(network.state_dict(), folder / f"rank{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
