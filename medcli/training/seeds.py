"""Random streams that follow from the seed and from where in the run they are used, not from what was drawn before.

So a resumed run draws the same numbers as an uninterrupted one, and no random state has to be saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def random_stream(seed: int, *place: int) -> np.random.Generator:
    """A NumPy generator for one place in a run, such as (epoch, step, process)."""
    import numpy as np

    return np.random.default_rng([seed, *place])


def seed_torch(seed: int, *place: int) -> None:
    """Set torch's generators (dropout, for one) for one place in a run."""
    import numpy as np
    import torch

    torch.manual_seed(int(np.random.SeedSequence([seed, *place]).generate_state(1, np.uint64)[0] >> np.uint64(1)))
