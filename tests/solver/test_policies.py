"""Learning rates against those that real SSD-Caffe used."""

from __future__ import annotations

import numpy as np
import pytest

from prototxt.schema import SolverParameter
from solver.config import read_config
from solver.policies import NEEDS, POLICIES, Progress

MEASURED = (
    *("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid"),
    *("plateau", "plateau_rising", "plateau_average_loss"),
)


def rates(p, losses) -> list[float]:
    progress = Progress()
    result = []
    for progress.iteration, loss in enumerate(losses):
        result.append(POLICIES[p.lr_policy](p, progress, float(loss)))
    return result


@pytest.mark.parametrize("name", MEASURED)
def test_rates_are_caffes(shared, name):
    # These runs were driven one Step(1) at a time, each of which starts a new average of the loss: so plateau
    # saw every single loss, whatever average_loss says.
    data = np.load(shared / "oracle/solver/lr_policies.npz")
    config = read_config(shared / f"oracle/solver/lr_{name}.solver.prototxt")
    np.testing.assert_allclose(rates(config.p, data[f"loss/{name}"]), data[f"lr/{name}"], rtol=1e-6)


def test_every_policy_says_what_it_needs():
    assert set(NEEDS) == set(POLICIES)
    fields = SolverParameter.DESCRIPTOR.fields_by_name
    assert all(field in fields for needed in NEEDS.values() for field in needed)


def test_multistep_cuts_in_the_iteration_of_the_step_value():
    p = SolverParameter(base_lr=1, lr_policy="multistep", gamma=0.5, stepvalue=[2, 4])
    assert rates(p, [0] * 6) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_equal_step_values_cut_one_after_the_other():
    p = SolverParameter(base_lr=1, lr_policy="multistep", gamma=0.5, stepvalue=[2, 2])
    assert rates(p, [0] * 5) == [1, 1, 0.5, 0.25, 0.25]


def test_sigmoid_far_from_its_step_is_zero_not_an_error():
    p = SolverParameter(base_lr=1, lr_policy="sigmoid", gamma=-1, stepsize=10)
    assert POLICIES["sigmoid"](p, Progress(iteration=100_000), 0.0) == 0


def test_plateau_counts_from_the_last_minimum():
    p = SolverParameter(base_lr=1, lr_policy="plateau", gamma=0.5, plateau_winsize=[2])
    assert rates(p, [3, 2, 2.5, 2.5, 2.5, 1, 1]) == [1, 1, 1, 0.5, 0.5, 0.5, 0.5]
