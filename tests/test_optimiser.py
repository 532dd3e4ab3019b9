"""Adam in one pass is Adam."""

import pytest
import torch
from pairs import TINY, bunch, inverted

from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix.optimiser import adam


@pytest.mark.parametrize("grouped", [False, True])
def test_a_step_in_one_pass_is_that_of_torch_s_adam(grouped: bool) -> None:
    drawn = torch.Generator().manual_seed(0)
    start, *grads = torch.randn(7, 37, 11, generator=drawn)
    settings = {"lr": 1e-2, "betas": (0.5, 0.999)}
    weights, found = [], []
    for make in (adam, torch.optim.Adam):
        weight = start.clone().requires_grad_()
        weights.append(weight)
        optimiser = make([{"params": [weight]}] if grouped else [weight], **settings)
        for grad in grads:
            weight.grad = grad.clone()
            optimiser.step()
        found.append(optimiser)
    assert found[0].param_groups[0]["fused"]
    torch.testing.assert_close(*weights, rtol=0, atol=1e-6)


def test_both_networks_take_their_steps_so() -> None:
    training = Pix2Pix(bunch(inverted(4)), **TINY)._require_training()
    for optimiser in (training.learn.opt.opt, training.adversary.optimiser):
        assert all(group["fused"] for group in optimiser.param_groups)
